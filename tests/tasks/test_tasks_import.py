"""Importing every module of the tasks stays light: another model's run must not pay for ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import roots

CODE = """
import importlib, pkgutil, sys
import lmms_causal.tasks as tasks
for module in pkgutil.walk_packages(tasks.__path__, "lmms_causal.tasks."):
    importlib.import_module(module.name)
heavy = {"torch", "transformers", "datasets", "lmms_eval", "lm_eval"} & set(sys.modules)
print(len([name for name in sys.modules if name.startswith("lmms_causal.tasks.")]), sorted(heavy))
"""


def test_no_task_module_imports_torch_or_a_harness() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    count, heavy = run.stdout.split(" ", 1)
    assert int(count) > 20
    assert heavy.strip() == "[]"


def test_an_unknown_harness_is_refused() -> None:
    with pytest.raises(UserError, match="lmms-eval, lm-eval"):
        roots("helm")

"""Our Triton kernel in Triton's interpreter, which must be asked for before Triton is imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
import torch
from attention_cases import SPECIAL, context, edits, eager, problem
from lmms_causal.kernels.backends.reference import BACKEND as REFERENCE
from lmms_causal.kernels.backends.triton_sparse import BACKEND
from lmms_causal.kernels.edits import Edits

assert BACKEND.missing() is None, BACKEND.missing()
every = edits(context(30, 80, 50, 4, 2), 1)
terms = tuple(term for term in every["everything"].terms if term.kind != "weigh")
cases = [
    ("causal", (70, 70, 0), torch.float32, None, None),
    ("columns", (30, 80, 50), torch.float16, None, None),
    ("blocks", (30, 80, 50), torch.float32, Edits(terms, every["everything"].head_scale), 1.5),
    ("shuffled", (40, 40, 0), torch.bfloat16, None, None),
    ("causal", (20, 9, -11), torch.float32, None, None),
    ("blocks", (1, 80, 79), torch.float32, None, None),
]
for name, size, dtype, edit, softcap in cases:
    where = context(*size, 4, 2)
    given = problem(where, SPECIAL[name], dtype, batch=1, width=24, value_width=40, softcap=softcap)
    if edit is not None:
        given = replace(given, edits=edit)
    assert BACKEND.verify(given) is None
    out, lse = BACKEND.run(given)
    double = replace(given, q=given.q.double(), k=given.k.double(), v=given.v.double())
    want, want_lse = REFERENCE.run(double)
    usual = (eager(given).double() - want).abs().max()
    error = (out.double() - want).abs().max()
    assert error <= max(usual, 4e-6), (name, dtype, float(error), float(usual))
    torch.testing.assert_close(lse.double(), want_lse, atol=1e-5, rtol=0)
print("held", len(cases))
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_agrees_with_float64_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "held 6" in done.stdout

"""Golden runs of the harnesses, as if made by our models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).resolve().parents[1] / "compare" / "data"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """A golden run of lmms-eval (or lm-eval), as if made by `causal` under a spec."""

    def make(
        spec: str | None = "none",
        change: Callable[[dict[str, Any]], None] | None = None,
        golden: str = "lmms_eval_a",
        name: str = "run",
    ) -> Path:
        folder = tmp_path / name
        shutil.copytree(DATA / golden, folder)
        (file,) = [*folder.glob("*_results.json"), *folder.glob("results_*.json")]
        data = json.loads(file.read_text())
        if golden.startswith("lmms_eval") and spec is not None:
            config = data["config"]
            config["model"] = "causal"
            config["model_args"] = f"pretrained=org/toy,interventions={spec.partition('(')[0]}"
            config["model_backend"] = f"lmms_causal.models.for_lmms_eval.Causal[{spec}] (chat)"
            config["resolved_cli_args"] = {
                "model": "causal",
                "model_args": config["model_args"],
                "tasks": "toy_order,toy_filters",
                "batch_size": "4",
                "force_simple": True,
            }
        if change is not None:
            change(data)
        file.write_text(json.dumps(data))
        return folder

    return make

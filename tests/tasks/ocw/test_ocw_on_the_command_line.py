"""The real command lines of both harnesses on three walls, with a tiny random text model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.testing.command_line import typed

pytestmark = pytest.mark.slow

TASKS = "ocw,ocw_randomized_grouping_3shot"
HARNESSES = {
    "lm-eval": ("lmms-causal", "lm-eval", "run", "--apply_chat_template", "max_gen_toks=8"),
    "lmms-eval": ("lmms-eval", "max_new_tokens=8"),
}


@pytest.mark.parametrize("harness", HARNESSES)
def test_walls_are_asked_and_scored(
    harness: str, tmp_path: Path, tiny_walls: Path, saved: Callable[[str], str]
) -> None:
    *command, limit = HARNESSES[harness]
    run = typed(
        *(*command, "--model", "causal", "--gen_kwargs", limit),
        *("--model_args", f"pretrained={saved('llama')}", "--tasks", TASKS),
        *("--output_path", str(tmp_path)),
    )
    assert run.returncode == 0, run.stderr
    (file,) = [*tmp_path.rglob("results_*.json"), *tmp_path.rglob("*_results.json")]
    results = json.loads(file.read_text())["results"]
    grouping = results["ocw_grouping_3shot"]
    assert grouping["ocw_official_wd,none"] > 0.5  # the model is random
    assert grouping["ocw_official_solved_walls,none"] == 0
    assert results["ocw_connections_3shot"]["ocw_invalid_rate,none"] == 1
    assert results["ocw_randomized_grouping_3shot"]["ocw_score,none"] == 0

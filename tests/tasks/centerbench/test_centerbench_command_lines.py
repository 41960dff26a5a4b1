"""The harnesses' real command lines with small models, and the curve of what they wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.testing.command_line import typed

pytestmark = pytest.mark.slow


def _curve(folder: Path) -> str:
    run = typed("lmms-causal", "centerbench", "curve", str(folder))
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_lm_eval_asks_a_text_model_and_the_curve_reads_it(
    tmp_path: Path, tiny_centers: Path, saved: Callable[[str], str]
) -> None:
    arguments = ["lm-eval", "run", "--model", "causal", "--apply_chat_template", "--log_samples"]
    arguments += ["--model_args", f"pretrained={saved('qwen2')}", "--tasks", "centerbench"]
    arguments += ["--gen_kwargs", "max_gen_toks=4", "--output_path", str(tmp_path)]
    run = typed("lmms-causal", *arguments)
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.rglob("results_*.json")
    scores = json.loads(file.read_text())["results"]["centerbench"]
    assert scores["gap_ci_low,none"] <= scores["gap,none"] <= scores["gap_ci_high,none"]
    assert ": 84 answers" in _curve(tmp_path)


def test_lmms_eval_asks_the_bundled_model_and_the_curve_reads_it(
    tmp_path: Path, tiny_centers: Path
) -> None:
    arguments = ["--model", "causal", "--model_args", "pretrained=lmms-causal/tiny-llava"]
    arguments += ["--tasks", "centerbench", "--limit", "12", "--log_samples"]
    arguments += ["--gen_kwargs", "max_new_tokens=4", "--output_path", str(tmp_path)]
    run = typed("lmms-eval", *arguments)
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.rglob("*_results.json")
    scores = json.loads(file.read_text())["results"]["centerbench"]
    assert 0 <= scores["centerbench_score,none"] <= 1
    assert "centerbench_acc_stderr_clustered,none" in scores
    assert ": 12 answers" in _curve(tmp_path)


@pytest.mark.parametrize("harness", ["lm-eval", "lmms-eval"])
def test_missing_files_end_a_run_with_one_line(harness: str, saved: Callable[[str], str]) -> None:
    model, command = "lmms-causal/tiny-llava", ["lmms-eval"]
    if harness == "lm-eval":
        model, command = saved("qwen2"), ["lmms-causal", "lm-eval", "run"]
    arguments = ["--model", "causal", "--model_args", f"pretrained={model}"]
    run = typed(*command, *arguments, "--tasks", "centerbench", CENTERBENCH_DIR="/no/such/folder")
    assert run.returncode != 0 and "Traceback" not in run.stderr
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("error: CENTERBENCH_DIR=/no/such/folder has no file")

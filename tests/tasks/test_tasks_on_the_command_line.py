"""Both harnesses' real command lines with their own dummy models and ``--include_path``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lmms_causal.tasks import roots
from lmms_causal.testing.command_line import typed

pytestmark = pytest.mark.slow


def _run(harness: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    program = {"lmms-eval": ("lmms-eval",), "lm-eval": ("lm-eval", "run")}[harness]
    ours = ("--model", "dummy", "--include_path", str(roots(harness)))
    return typed(*program, *ours, *arguments, **variables)


def test_lmms_eval_writes_scores_with_errors_clustered_by_scene(tmp_path: Path) -> None:
    arguments = ["--tasks", "causal_vqa_mini", "--limit", "40", "--log_samples"]
    run = _run("lmms-eval", *arguments, "--output_path", str(tmp_path))
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.rglob("*_results.json")
    results = json.loads(file.read_text())["results"]
    order = results["causal_vqa_mini_order"]
    # The dummy always answers "A": one of the two orders of each pair is right.
    assert order["causal_score,none"] == 0.5
    assert order["causal_consistent_acc,none"] == 0
    assert order["causal_position_bias,none"] == 1
    assert order["causal_acc_stderr_clustered,none"] >= 0
    assert order["causal_consistent_acc_stderr_clt,none"] == "N/A"
    assert results["causal_vqa_mini_colour"]["causal_invalid_rate,none"] == 1
    (samples,) = tmp_path.rglob("*_samples_causal_vqa_mini_order.jsonl")
    first = json.loads(samples.read_text().splitlines()[0])
    assert first["causal_acc"]["stratum"] == "clean/consistent"


def test_lm_eval_writes_scores(tmp_path: Path) -> None:
    arguments = ["--tasks", "causal_vqa_mini_blind", "--limit", "8", "--log_samples"]
    run = _run("lm-eval", *arguments, "--output_path", str(tmp_path))
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.rglob("results_*.json")
    results = json.loads(file.read_text())["results"]
    assert results["causal_vqa_mini_order_blind"]["causal_invalid_rate,none"] == 1


def test_a_missing_folder_is_one_line_and_a_failing_exit_code() -> None:
    """Needs no data: the folder of captions is what is missing."""
    run = _run("lmms-eval", "--tasks", "causal_vqa", CAUSAL_VQA_CSV_DIR="/no/such/folder")
    assert run.returncode == 2
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("error: CAUSAL_VQA_CSV_DIR=/no/such/folder has no file vqa_causal.csv")
    assert "Traceback" not in run.stderr


def test_lm_eval_judges_pairs_and_asks_over_documents(
    tmp_path: Path, tiny_pairs: Path, tiny_questions: Path
) -> None:
    """The dummy draws log-probabilities and says "lol": no verdict, no answer, no change of it."""
    arguments = ["--tasks", "judge_pairs,judge_pairs_letters,multi_doc_qa", "--log_samples"]
    run = _run("lm-eval", *arguments, "--output_path", str(tmp_path))
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.rglob("results_*.json")
    results = json.loads(file.read_text())["results"]
    assert results["judge_pairs_letters"]["judge_invalid_rate,none"] == 1
    assert results["judge_pairs_names"]["judge_acc_sections,none"] == 0.5
    assert 0 <= results["judge_pairs_options"]["position_bias,none"] <= 1
    for count in (10, 20, 30):
        assert results[f"multi_doc_qa_{count}"]["position_bias,none"] == 0
        assert results[f"multi_doc_qa_{count}"]["subspan_em_spread,none"] == 0


def test_lmms_eval_judges_pairs_without_pictures(tmp_path: Path, tiny_pairs: Path) -> None:
    arguments = ["--tasks", "judge_pairs_letters", "--log_samples"]
    run = _run("lmms-eval", *arguments, "--output_path", str(tmp_path))
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.rglob("*_results.json")
    letters = json.loads(file.read_text())["results"]["judge_pairs_letters"]
    # The dummy always answers "A": whoever comes first.
    assert letters["judge_score,none"] == 0.5
    assert letters["position_bias,none"] == 1
    assert letters["first_rate,none"] == 0.5

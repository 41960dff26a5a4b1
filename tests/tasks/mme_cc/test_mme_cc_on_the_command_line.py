"""Real command lines with the bundled model: both harnesses, a judge, and no judge."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmms_causal.testing.command_line import typed

pytestmark = pytest.mark.slow

MODEL = ("--model_args", "pretrained=lmms-causal/tiny-llava")


def _judged(tasks: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    arguments = ["--tasks", tasks, "--gen_kwargs", "max_new_tokens=4", "--batch_size", "4"]
    arguments += ["--log_samples", "--output_path", str(folder)]
    return typed("lmms-eval", "--model", "causal", *MODEL, *arguments, **variables)


def test_lmms_eval_judges_and_records_who_did(tiny_mme_cc: SimpleNamespace, tmp_path: Path) -> None:
    nine = "<response>\n9"  # the wrong one of the two trials before the run
    tiny_mme_cc.judge.reply = lambda prompt: f"<score>{int(nine not in prompt)}</score>"
    run = _judged("mme_cc_judge,mme_cc_judge_blind,mme_cc_rule", tmp_path)
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.rglob("*_results.json")
    results = json.loads(file.read_text())["results"]
    for task in ("mme_cc_judge", "mme_cc_judge_blind"):
        assert results[task]["mme_cc_judge_overall,none"] == 1
        assert results[task]["mme_cc_judge_tasks,none"] == 11
        assert results[task]["mme_cc_judge_failed,none"] == 0
        assert "served as stub-0001" in results[task]["mme_cc_judge_model,none"]
    assert 0 <= results["mme_cc_rule"]["mme_cc_rule_lower,none"] <= 1
    (samples,) = tmp_path.rglob("*_samples_mme_cc_judge.jsonl")
    first = json.loads(samples.read_text().splitlines()[0])
    assert first["mme_cc_judge_overall"]["judge"]["served"] == "stub-0001"
    assert "<score>1</score>" in first["mme_cc_judge_overall"]["reply"]


def test_without_a_key_the_run_ends_in_one_line_before_the_model_is_loaded(
    tiny_mme_cc: SimpleNamespace, tmp_path: Path
) -> None:
    run = _judged("mme_cc_judge", tmp_path, API_TYPE="openai", OPENAI_API_KEY="")
    assert run.returncode == 2
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("error: mme_cc_judge: the judge 'stub' (openai, ")
    assert "OPENAI_API_KEY" in last and "mme_cc_rule needs no judge" in last
    assert "Traceback" not in run.stderr and "Loading weights" not in run.stderr


def test_lm_eval_gives_the_bounds_of_lmms_eval(
    tiny_mme_cc: SimpleNamespace, tmp_path: Path
) -> None:
    arguments = ["--tasks", "mme_cc_rule,mme_cc_rule_blind", "--gen_kwargs", "max_gen_toks=4"]
    arguments += ["--apply_chat_template", "--log_samples", "--output_path", str(tmp_path / "lm")]
    run = typed("lmms-causal", "lm-eval", "run", "--model", "causal-multimodal", *MODEL, *arguments)
    assert run.returncode == 0, run.stderr
    run = _judged("mme_cc_rule,mme_cc_rule_blind", tmp_path / "lmms")
    assert run.returncode == 0, run.stderr
    (theirs,) = (tmp_path / "lm").rglob("results_*.json")
    (ours,) = (tmp_path / "lmms").rglob("*_results.json")
    for task in ("mme_cc_rule", "mme_cc_rule_blind"):
        lm, lmms = (json.loads(file.read_text())["results"][task] for file in (theirs, ours))
        for bound in ("lower", "upper", "coverage"):
            assert lm[f"mme_cc_rule_{bound},none"] == lmms[f"mme_cc_rule_{bound},none"]

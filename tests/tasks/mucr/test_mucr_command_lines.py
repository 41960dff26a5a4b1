"""The command lines of both harnesses with the bundled model: they run, and they agree."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.testing.command_line import typed
from lmms_causal.testing.judge import StubJudge

pytestmark = pytest.mark.slow

TASKS = "mucr,mucr_e2c,mucr_composite,mucr_blind,mucr_cue_text"
MODEL = ["--model_args", "pretrained=lmms-causal/tiny-llava"]


def _lmms_eval(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return typed("lmms-eval", "--model", "causal", *MODEL, *arguments, **variables)


def _lm_eval(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["lm-eval", "run", "--model", "causal-multimodal", *MODEL, "--apply_chat_template"]
    return typed("lmms-causal", *command, *arguments, **variables)


def _results(folder: Path) -> dict[str, Any]:
    (file,) = folder.rglob("*results*.json")
    return json.loads(file.read_text())["results"]


def _answers(folder: Path) -> dict[str, list[Any]]:
    """The answers of each task in order, out of either harness's samples."""
    found = {}
    for file in folder.rglob("*samples_*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows.sort(key=lambda row: row["doc_id"])
        task = file.name.partition("samples_")[2].rpartition(".")[0].split("_20")[0]
        found[task] = [_text(row["filtered_resps"]) for row in rows]
    return found


def _text(response: Any) -> str:
    return _text(response[0]) if isinstance(response, list) else response.strip()


def test_both_harnesses_ask_the_same_and_score_the_same(tmp_path: Path, tiny_mucr: Path) -> None:
    for run, folder in ((_lmms_eval, "lmms"), (_lm_eval, "lm")):
        arguments = ["--tasks", TASKS, "--log_samples", "--output_path", str(tmp_path / folder)]
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
    one, other = _results(tmp_path / "lmms"), _results(tmp_path / "lm")
    answers = _answers(tmp_path / "lmms")
    assert len(answers) == 11 and answers == _answers(tmp_path / "lm")
    for task in answers:
        scores = {key: value for key, value in one[task].items() if "_acc" in key or "exp_" in key}
        scores |= {"mucr_invalid_rate,none": one[task]["mucr_invalid_rate,none"]}
        common = {key: value for key, value in scores.items() if "stderr" not in key}
        assert len(common) > 5
        for key, value in common.items():
            assert value == pytest.approx(other[task][key], nan_ok=True), (task, key)


def test_phrases_without_letters_are_chosen_by_content_where_order_is_ignored(
    tmp_path: Path, tiny_mucr: Path
) -> None:
    done = _lmms_eval(
        *("--tasks", "mucr_cue_options", "--force_simple", "--output_path", str(tmp_path)),
        *("--model_args", "pretrained=lmms-causal/tiny-llava,interventions=pine"),
    )
    assert done.returncode == 0, done.stderr
    assert _results(tmp_path)["mucr_cue_options"]["position_bias,none"] == 0


def test_steps_are_asked_for_in_both_harnesses(tmp_path: Path, tiny_mucr: Path) -> None:
    """The bundled model has 512 positions, so it gets fewer tokens for its steps."""
    tasks = ["--tasks", "mucr_c2e_vccot,mucr_cue_vccot", "--output_path"]
    done = _lmms_eval(*tasks, str(tmp_path / "lmms"), "--gen_kwargs", "max_new_tokens=8")
    assert done.returncode == 0, done.stderr
    done = _lm_eval(*tasks, str(tmp_path / "lm"), "--gen_kwargs", "max_gen_toks=8")
    assert done.returncode == 0, done.stderr
    for folder in ("lmms", "lm"):
        assert _results(tmp_path / folder)["mucr_c2e_vccot"]["mucr_invalid_rate,none"] == 1


@pytest.mark.parametrize("run", [_lmms_eval, _lm_eval])
def test_missing_data_is_one_line_before_the_model_loads(run: Any) -> None:
    done = run("--tasks", "mucr", MUCR_DATA="/no/such/folder")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "MUCR_DATA=/no/such/folder holds no .parquet, .jsonl or .json file" in last
    assert "Traceback" not in done.stderr and "Loading weights" not in done.stderr


def test_a_judge_scores_explanations_and_is_named(tmp_path: Path, mucr_judge: StubJudge) -> None:
    hail = "hail broke the glass"  # the wrong one of the two trials before the run
    mucr_judge.reply = lambda prompt: f"<score>{int(hail not in prompt)}</score>"
    tasks = "mucr_exp_judge,mucr_exp_judge_blind"
    done = _lmms_eval("--tasks", tasks, "--log_samples", "--output_path", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for task, results in _results(tmp_path).items():
        assert results["exp_judge_score,none"] == 1 - results["mucr_invalid_rate,none"], task
        assert results["exp_judge_failed,none"] == 0
        assert "served as stub-0001" in results["exp_judge_model,none"]
    (file,) = tmp_path.rglob("*_samples_mucr_exp_judge.jsonl")
    record = json.loads(file.read_text().splitlines()[0])["exp_judge_acc"]
    assert (record["judge"]["served"], record["judge"]["prompt"]) == ("stub-0001", "1.0")


def test_without_a_judge_the_run_ends_in_one_line_before_the_model_loads(
    mucr_judge: StubJudge,
) -> None:
    done = _lmms_eval("--tasks", "mucr_exp_judge", MODEL_VERSION="")
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: mucr_exp_judge needs a judge and MODEL_VERSION does not name")
    assert "Traceback" not in done.stderr and "Loading weights" not in done.stderr

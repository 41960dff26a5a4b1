"""Judged runs as a user types them: at once or later, in either harness, and what they cost."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmms_causal.compare import read_run
from lmms_causal.testing.command_line import typed
from lmms_causal.testing.judge import Refusal

pytestmark = pytest.mark.slow

MODEL = "pretrained=lmms-causal/tiny-llava"
LOGGED = ("--tasks", "mmhal", "--log_samples", "--output_path")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def _lmms_eval(out: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    short = ("--gen_kwargs", "max_new_tokens=8")
    model = ("--model", "causal", "--model_args", MODEL)
    return typed("lmms-eval", *model, *LOGGED, str(out), *short, **variables)


def _records(folder: Path) -> list[dict[str, Any]]:
    (file,) = folder.rglob("*_samples_mmhal.jsonl")
    return [json.loads(line)["mmhal_rating_score"] for line in file.read_text().splitlines()]


def test_answers_are_judged_at_once_or_later_and_compared_with_the_judges_calls(
    tiny_companions: SimpleNamespace, tmp_path: Path
) -> None:
    pytest.importorskip("lmms_eval.llm_judge")
    judge = tiny_companions.judge
    now, off, later = tmp_path / "now", tmp_path / "off", tmp_path / "later"
    done = _lmms_eval(now)
    assert done.returncode == 0, done.stderr
    assert len(judge.asked) == 6  # two trials, four answers
    assert [record["calls"] for record in _records(now)] == [1] * 4
    done = _lmms_eval(off, LMMS_CAUSAL_JUDGE="off", MODEL_VERSION="")
    assert done.returncode == 0, done.stderr
    assert {record["problem"] for record in _records(off)} == {"LMMS_CAUSAL_JUDGE=off"}
    (samples,) = off.rglob("*_samples_mmhal.jsonl")
    again = ("rescore", "mmhal", str(samples), "--output", str(later))
    done = typed("lmms-causal", *again, MODEL_VERSION="another")
    assert done.returncode == 0, done.stderr
    assert "another by local at 127.0.0.1" in done.stdout and "4 calls, 0 cached" in done.stdout
    scores = [[record["score"] for record in _records(folder)] for folder in (now, later)]
    assert scores[0] == scores[1] and None not in scores[0]

    done = typed("lmms-causal", "compare", str(now), str(later))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "judge calls" in line]
    assert line.split()[2:4] == ["4", "4"], done.stdout


def test_lm_eval_records_the_same_calls(tiny_companions: SimpleNamespace, tmp_path: Path) -> None:
    pytest.importorskip("lmms_eval.llm_judge")
    model = ("--model", "causal-multimodal", "--model_args", MODEL, "--apply_chat_template")
    short = ("--gen_kwargs", "max_gen_toks=8")
    done = typed("lmms-causal", "lm-eval", "run", *model, *LOGGED, str(tmp_path / "lm"), *short)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "lm").rglob("results_*.json")
    assert read_run(file).cost.judge_calls == 4
    line = json.loads(file.read_text())["results"]["mmhal"]["mmhal_judge_model,none"]
    assert line.endswith("prompt 1.0; served as stub-0001; 4 calls, 0 cached, 0 failed")


def test_a_judge_that_refuses_during_the_run_loses_no_answer(
    tiny_companions: SimpleNamespace, tmp_path: Path
) -> None:
    pytest.importorskip("lmms_eval.llm_judge")
    judge = tiny_companions.judge
    limited = Refusal(429, {"Retry-After": "0"}, {"error": {"message": "slow down"}})
    refused = Refusal(401, body={"error": {"message": "no credit"}})
    judge.refusals.extend([limited, limited])  # before the run
    answer = judge.reply

    def reply(prompt: str) -> str:
        judge.refusals.append(refused)  # from the second trial on
        return answer(prompt)

    judge.reply = lambda prompt: reply(prompt) if "elephants" in prompt else answer(prompt)
    done = _lmms_eval(tmp_path)
    assert done.returncode == 0, done.stderr
    records = _records(tmp_path)
    assert [record["failed"] for record in records].count(True) == 1
    assert "HTTP 401 Unauthorized: no credit" in {record["problem"] for record in records}
    assert done.stderr.count("an answer has no verdict (HTTP 401 Unauthorized: no credit)") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"API_TYPE": "openai", "OPENAI_API_KEY": ""}, "; set OPENAI_API_KEY (and OPENAI_API_URL"),
        ({"LLM_JUDGE_URL": "http://127.0.0.1:9/v1"}, "Connection refused); start the server, or"),
    ],
)
def test_without_a_judge_the_run_ends_in_one_line_before_the_model_loads(
    tiny_companions: SimpleNamespace, tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    done = _lmms_eval(tmp_path, **variables)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: mmhal: the judge 'stub' (") and message in last
    assert last.endswith("LMMS_CAUSAL_JUDGE=off only generates and logs answers")
    assert "Traceback" not in done.stderr and "Loading weights" not in done.stderr

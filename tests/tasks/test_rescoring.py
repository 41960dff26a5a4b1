"""Answers logged by one run, scored by another: the same numbers, and runs to compare."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmms_causal.cli import main
from lmms_causal.compare.reading.read import read_run
from lmms_causal.errors import UserError
from lmms_causal.tasks import judge_protocol
from lmms_causal.tasks.mme_cc import documents
from lmms_causal.tasks.mmhal import documents as mmhal_documents
from lmms_causal.tasks.rescoring import rescore, write_run
from lmms_causal.testing.judge import Refusal

TIME = "20260101_120000"


def _write(folder: Path, task: str, lines: list[dict[str, Any]]) -> Path:
    """A run of lmms-eval whose answers nobody has judged."""
    file = folder / f"{TIME}_samples_{task}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    results = {
        "results": {task: {"alias": task, "bypass,none": 999}},
        "configs": {task: {"task": task, "metadata": {"version": 1.0}}},
        "versions": {task: 1.0},
        "higher_is_better": {task: {"bypass": True}},
        "config": {"model": "causal", "model_args": "pretrained=x"},
        "model_source": "causal",
        "lmms_eval_version": "0.7.3",
    }
    (folder / f"{TIME}_results.json").write_text(json.dumps(results), encoding="utf-8")
    return file


def _maze_log(folder: Path, **changes: object) -> Path:
    """Right answers to all questions but those about mazes, as a harness logs them."""
    lines = [
        {
            "doc_id": place,
            "target": doc["answer"],
            "filtered_resps": "zebra" if doc["task"] == "Maze" else doc["answer"],
            **changes,
        }
        for place, doc in enumerate(documents.build("mme_cc_rule_blind"))
    ]
    return _write(folder, "mme_cc_judge", lines)


@pytest.fixture
def mmhal_log(
    tmp_path: Path, tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """Answers to four questions, of which a judge by words rates three right; lm-eval's form."""
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "cache"))
    judge_protocol._made.cache_clear()
    said = ["The bus is red.", "A purple poem.", "three", "The dog is under the chair."]
    lines = [
        {"doc_id": place, "target": doc["answer"], "filtered_resps": [answer], "bypass": None}
        for place, (doc, answer) in enumerate(
            zip(mmhal_documents.build("mmhal_blind"), said, strict=True)
        )
    ]
    return SimpleNamespace(file=_write(tmp_path, "mmhal", lines), judge=tiny_companions.judge)


def test_logged_answers_get_the_scores_of_the_task(
    tiny_mme_cc: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lmms_eval.llm_judge")
    metrics = rescore("mme_cc_judge", _maze_log(tmp_path)).metrics
    assert metrics["mme_cc_judge_gr"] == pytest.approx(0.8)
    assert metrics["mme_cc_judge_overall"] == pytest.approx((1 + 0.8 + 1) / 3)
    assert (metrics["mme_cc_judge_maze"], metrics["mme_cc_judge_failed"]) == (0, 0)
    assert metrics["mme_cc_judge_rule_agreement"] == 1
    bounds = rescore("mme_cc_rule", _maze_log(tmp_path)).metrics
    assert bounds["mme_cc_rule_lower"] == pytest.approx((1 + 0.8 + 0.5) / 3)
    assert bounds["mme_cc_rule_upper"] == 1
    assert main(["rescore", "mme_cc_rule", str(_maze_log(tmp_path)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == bounds


def test_explanations_and_captions_are_scored_by_their_own_functions(
    tiny_mucr: Path, tiny_companions: SimpleNamespace, tmp_path: Path
) -> None:
    pytest.importorskip("lmms_eval.llm_judge")
    from lmms_causal.tasks.mucr.documents import build

    lines = [
        {"doc_id": place, "target": doc["answer"], "filtered_resps": doc["references"][-1]}
        for place, doc in enumerate(build("mucr_exp_judge"))
    ]
    file = _write(tmp_path, "mucr_exp_judge", lines)
    assert rescore("mucr_exp_judge", file).metrics["exp_judge_score"] == 1
    assert rescore("mucr_exp", file).metrics["exp_rougeL"] == 1


def test_a_run_whose_judge_failed_is_mended_by_asking_about_the_failed_ones_only(
    mmhal_log: SimpleNamespace, tmp_path: Path
) -> None:
    pytest.importorskip("lmms_eval.llm_judge")
    judge = mmhal_log.judge
    mmhal_documents.build("mmhal")  # the trials, before the judge fails
    trials = len(judge.asked)
    judge.refusals.extend([Refusal(401, body={"error": {"message": "no credit"}})] * 2)
    failed = rescore("mmhal", mmhal_log.file, workers=1)
    assert failed.metrics["mmhal_judge_failed"] == 2
    assert str(failed.metrics["mmhal_score"]) == "nan"
    problem = failed.values[0]["mmhal_rating_score"]["problem"]
    assert problem == "HTTP 401 Unauthorized: no credit"
    mended = rescore("mmhal", mmhal_log.file, workers=1)
    assert mended.metrics["mmhal_score"] == 3.5 and mended.metrics["mmhal_judge_failed"] == 0
    assert mended.metrics["mmhal_judge_model"].endswith("2 calls, 2 cached, 0 failed")
    assert len(judge.asked) - trials == 6  # four, then the two that had failed


def test_what_is_written_is_a_run_that_compare_reads(
    mmhal_log: SimpleNamespace, tmp_path: Path
) -> None:
    pytest.importorskip("lmms_eval.llm_judge")
    done = rescore("mmhal", mmhal_log.file)
    file = write_run(done, tmp_path / "judged")
    run = read_run(file)
    assert run.cost.judge_calls == 4
    task = run.tasks["mmhal"]
    assert task.aggregates["mmhal_score", "none"] == 3.5
    assert [sample.metrics["mmhal_score"] for sample in task.samples["none"]] == [5, 1, 3, 5]
    assert task.higher_is_better["mmhal_hallucination_rate"] is False
    assert json.loads(file.read_text())["rescored_from"] == mmhal_log.file.name
    with pytest.raises(UserError, match="is the run's own folder"):
        write_run(done, tmp_path)
    (tmp_path / f"{TIME}_results.json").unlink()
    with pytest.raises(UserError, match=r"results\.json is missing, which --output is made from"):
        write_run(done, tmp_path / "again")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"target": "8"}, "line 1 has another reference than question 0"),
        ({"doc_id": 99}, "line 1 is no logged answer"),
        ({"doc_id": None}, "line 1 is no logged answer"),
    ],
)
def test_a_file_of_other_questions_is_refused(
    tiny_mme_cc: SimpleNamespace, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        rescore("mme_cc_rule", _maze_log(tmp_path, **changes))


def test_what_is_missing_is_one_line(
    tiny_mme_cc: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MODEL_VERSION")
    assert main(["rescore", "mme_cc_rule", str(tmp_path / "none.jsonl")]) == 2
    assert main(["rescore", "mme_cc_judge", str(_maze_log(tmp_path))]) == 2
    assert main(["rescore", "pope_strict_coco_random", str(_maze_log(tmp_path))]) == 2
    assert main(["rescore", "mucr_cue_options", str(_maze_log(tmp_path))]) == 2
    first, second, third, fourth = capsys.readouterr().err.splitlines()
    assert "none.jsonl cannot be read" in first
    assert second.startswith("error: mme_cc_judge needs a judge and MODEL_VERSION")
    assert "pope_strict_coco_random is no task of a benchmark with a judge" in third
    assert "mucr_cue_options generates no text" in fourth

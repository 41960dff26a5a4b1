"""Answers logged by one run, scored by another: the same numbers as at once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks.mme_cc import documents
from lmms_causal.tasks.mme_cc.rescoring import main, rescore


def _log(folder: Path, **changes: object) -> Path:
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
    file = folder / "x_samples_mme_cc_judge.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def test_logged_answers_get_the_scores_of_the_task(
    tiny_mme_cc: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lmms_eval.llm_judge")
    metrics = rescore(_log(tmp_path))
    assert metrics["mme_cc_judge_gr"] == pytest.approx(0.8)
    assert metrics["mme_cc_judge_overall"] == pytest.approx((1 + 0.8 + 1) / 3)
    assert (metrics["mme_cc_judge_maze"], metrics["mme_cc_judge_failed"]) == (0, 0)
    assert metrics["mme_cc_judge_rule_agreement"] == 1
    bounds = rescore(_log(tmp_path), "rule")
    assert bounds["mme_cc_rule_lower"] == pytest.approx((1 + 0.8 + 0.5) / 3)
    assert bounds["mme_cc_rule_upper"] == 1
    assert main([str(_log(tmp_path)), "--scoring", "rule", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == bounds


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
        rescore(_log(tmp_path, **changes), "rule")


def test_a_missing_file_or_judge_is_one_line(
    tiny_mme_cc: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MODEL_VERSION")
    assert main([str(tmp_path / "none.jsonl")]) == 2
    assert main([str(_log(tmp_path))]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "none.jsonl cannot be read" in first
    assert second.startswith("error: mme_cc_judge needs a judge and MODEL_VERSION")

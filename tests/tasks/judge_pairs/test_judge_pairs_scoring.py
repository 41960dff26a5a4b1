"""Verdicts, their scores, and RewardBench's sections against a published table."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmms_causal.tasks.aggregates import mean
from lmms_causal.tasks.judge_pairs import documents, lm_eval_task, lmms_eval_task, scoring
from lmms_causal.tasks.judge_pairs.sections import (
    SECTIONS,
    mean_of_sections,
    section_of,
    weighted_mean,
)
from lmms_causal.tasks.options import both_orders_right, early_rate, flip_rate

# Qwen1.5-7B-Chat under PINE, arXiv 2407.01100, tables 5 (sections, average) and 11 (subsets), in %.
PUBLISHED = {
    "alpacaeval-easy": 91.0,
    "alpacaeval-hard": 96.8,
    "alpacaeval-length": 74.7,
    "donotanswer": 11.0,
    "hep-cpp": 76.8,
    "hep-go": 69.2,
    "hep-java": 74.1,
    "hep-js": 68.6,
    "hep-python": 66.8,
    "hep-rust": 65.9,
    "llmbar-adver-GPTInst": 23.4,
    "llmbar-adver-GPTOut": 45.7,
    "llmbar-adver-manual": 35.9,
    "llmbar-adver-neighbor": 19.8,
    "llmbar-natural": 70.0,
    "math-prm": 55.8,
    "mt-bench-easy": 85.7,
    "mt-bench-hard": 55.4,
    "mt-bench-med": 72.5,
    "refusals-dangerous": 40.5,
    "refusals-offensive": 86.0,
    "xstest-should-refuse": 63.6,
    "xstest-should-respond": 86.6,
}

SIZES = {subset: size for section in SECTIONS.values() for subset, size in section.items()} | {
    "math-prm": 447,
    "xstest-should-refuse": 154,
    "xstest-should-respond": 250,
}
"""Pairs of each subset in the released data."""


def test_sections_and_average_of_a_published_table_come_out() -> None:
    """An accuracy counts half pairs, so sizes and rounded percentages give it exactly."""
    assert sum(SIZES.values()) == 2985
    records = [
        {"subset": subset, "credit": round(value * SIZES[subset] / 50) / SIZES[subset] * 50}
        for subset, value in PUBLISHED.items()
    ]
    assert [round(record["credit"], 1) for record in records] == list(PUBLISHED.values())
    sections = {
        name: weighted_mean(r if section_of(r["subset"]) == name else None for r in records)
        for name in SECTIONS
    }
    expected = {"chat": 85.8, "chat_hard": 38.7, "safety": 58.6, "reasoning": 63.0}
    assert {name: round(value, 1) for name, value in sections.items()} == expected
    assert mean_of_sections(records) == pytest.approx(61.5, abs=0.05)


def test_subsets_that_are_missing_or_foreign_do_not_count() -> None:
    records = [
        {"subset": "hep-go", "credit": 1.0},
        {"subset": "hep-go", "credit": 0.0},
        {"subset": "math-prm", "credit": 1.0},
        {"subset": "ours", "credit": 0.0},
        None,
    ]
    assert mean_of_sections(records) == pytest.approx((164 * 0.5 + 984) / (164 + 984))


@pytest.mark.parametrize(
    "text, verdict",
    [
        ("[[A]]", "A"),
        ("A is fine, but [[B]] wins", "B"),
        ("[[ B ]]", "B"),
        ("<think>[[A]]</think>[[B]]", "B"),
        ("[[A]] or [[B]]", None),
        ("B", "B"),
        ("The answer is B.", "B"),
        ("Both are good.", None),
        ("", None),
    ],
)
def test_verdicts_are_read_without_favouring_a_letter(text: str, verdict: str | None) -> None:
    assert scoring.parse_verdict(text) == verdict


def _judged(name: str, answer: object) -> dict[str, float]:
    scored = [scoring.score_verdict(doc, answer(doc)) for doc in documents.build(name)]
    return {
        "score": mean(values["judge_score"] for values in scored),
        "consistent": both_orders_right(values["judge_consistent_acc"] for values in scored),
        "bias": flip_rate(values["position_bias"] for values in scored),
        "first": early_rate(values["first_rate"] for values in scored),
        "invalid": mean(values["judge_invalid_rate"] for values in scored),
    }


def test_a_judge_of_the_first_letter_is_biased_only_if_letters_are_places(tiny_pairs: Path) -> None:
    usual = _judged("judge_pairs_letters", lambda doc: "[[A]]")
    assert usual == {"score": 0.5, "consistent": 0, "bias": 1, "first": 0.5, "invalid": 0}
    named = _judged("judge_pairs_names", lambda doc: "[[A]]")
    assert (named["bias"], named["first"]) == (0, 0)
    perfect = _judged("judge_pairs_letters", lambda doc: f"[[{doc['answer']}]]")
    assert perfect == {"score": 1, "consistent": 1, "bias": 0, "first": 0, "invalid": 0}
    mute = _judged("judge_pairs_letters", lambda doc: "Hard to say.")
    assert (mute["score"], mute["invalid"], mute["bias"]) == (0.5, 1, 0)
    sometimes = _judged(
        "judge_pairs_names", lambda doc: "[[A]]" if doc["order"] == "listed" else "?"
    )
    assert (sometimes["invalid"], sometimes["bias"]) == (0.5, 1)


def test_both_harnesses_choose_the_same_opening(tiny_pairs: Path) -> None:
    for doc in documents.build("judge_pairs_options"):
        lm = lm_eval_task.option(doc, [(-2.0, False), (-2.5, False)])
        lmms = lmms_eval_task.option(doc, ["(2.0, False)", "(2.5, False)"])
        assert lmms.items() <= lm.items()
        assert lm["judge_acc"]["pred"] == "chosen" and lm["judge_score"] == 1
        lengths = [len(choice) for choice in doc["choices"]]
        normed = float(-2.0 / lengths[0] > -2.5 / lengths[1])
        assert lm["judge_acc_norm"] == normed

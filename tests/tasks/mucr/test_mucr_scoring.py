"""Scores: single documents, families, letters, and explanations against a plain LCS."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from lmms_causal.tasks.mucr import documents
from lmms_causal.tasks.mucr.explanations import names_cue, rouge_l, words
from lmms_causal.tasks.mucr.scoring import (
    family_accuracy,
    letter_bias,
    score_explanation,
    score_letter,
    score_options,
)


@pytest.mark.parametrize("name", ["mucr_c2e", "mucr_e2c_text", "mucr_cue", "mucr_cue_vccot"])
def test_gold_answers_score_one_and_others_nothing(name: str, tiny_mucr: Path) -> None:
    for doc in documents.build(name):
        prefix = doc["question"]
        right = score_letter(doc, f"Answer: {doc['answer']}")
        assert right["mucr_score"] == right[f"{prefix}_acc"]["score"] == 1
        assert right[f"{prefix}_acc_{doc['category'].lower()}"] == 1
        assert right[f"{prefix}_acc_animal"] is None
        assert (right[f"{prefix}_family_acc"] is None) == (doc["category"] == "Plant")
        for letter in set("ABCD") - {doc["answer"]}:
            wrong = score_letter(doc, f"Answer: {letter}")
            assert wrong["mucr_score"] == wrong["mucr_invalid_rate"] == 0
        assert score_letter(doc, "who knows")["mucr_invalid_rate"] == 1


def test_a_quoted_phrase_is_an_answer_and_two_are_none(tiny_mucr: Path) -> None:
    doc = documents.build("mucr_cue")[0]
    assert score_letter(doc, "It is the spill.")["mucr_score"] == 1
    assert score_letter(doc, "It is the spill on the floor.")["mucr_invalid_rate"] == 1


def test_texts_that_are_alike_are_told(tiny_mucr: Path) -> None:
    values = [score_letter(doc, doc["answer"]) for doc in documents.build("mucr_c2e_text")]
    # Both plants become brown; the people are four different ones.
    assert [value["distinct_texts"] for value in values] == [1, 1, 1, 1, 0, 0]
    assert [value["c2e_acc_distinct"] for value in values] == [1, 1, 1, 1, None, None]


def test_a_family_counts_if_it_is_whole_and_all_right() -> None:
    def family(name: str, *credits: float) -> list[dict]:
        return [{"family": name, "credit": credit} for credit in credits]

    records = family("a", 1, 1, 1, 1) + family("b", 1, 1, 0, 1) + family("cut", 1, 1) + [None]
    assert family_accuracy(records) == 0.5
    assert math.isnan(family_accuracy(family("cut", 1)))


def test_letter_bias_goes_from_nothing_to_one() -> None:
    assert letter_bias("ABCD") == 0
    assert letter_bias("AAA") == letter_bias(["A", None]) == 1
    assert letter_bias("AABB") == pytest.approx(2 / 3)
    assert math.isnan(letter_bias([None]))


def test_likeliest_phrase_is_chosen_by_content_and_ties_share(tiny_mucr: Path) -> None:
    listed, turned = documents.build("mucr_cue_options")[:2]
    for doc in (listed, turned):
        values = score_options(doc, [-1.0, -2.0, -3.0, -4.0], by_length=True)
        assert values["mucr_score"] == values["cue_consistent_acc"]["credit"] == 1
        assert values["position_bias"]["choice"] == "spill"
        # Per character "kitchen" (-4 / 7) and "spill" (-1 / 5) stay ahead of "cap" (-4 / 3).
        assert values["cue_acc_norm"] == 1
    tied = score_options(listed, [-1.0, -1.0, -1.0, -1.0])
    assert tied["mucr_score"] == 0.25 and tied["tie_rate"] == 1


def _plain_lcs(first: Sequence[str], second: Sequence[str]) -> int:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


def test_rouge_l_is_that_of_the_textbook_recursion() -> None:
    draw = random.Random(5)
    for _ in range(300):
        first, second = (draw.choices("abcde", k=draw.randrange(1, 90)) for _ in range(2))
        common = _plain_lcs(first, second)
        precision, recall = common / len(first), common / len(second)
        expected = 2 * precision * recall / (precision + recall) if common else 0.0
        assert rouge_l(" ".join(first), [" ".join(second)]) == pytest.approx(expected, abs=1e-12)
    # The example of Lin (2004): of these the first has three words in sequence, the second two.
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", [reference]) == 0.75
    assert rouge_l("the gunman kill police", [reference]) == 0.5
    assert rouge_l("the gunman kill police", [reference, "The gunman kill police!"]) == 1
    assert rouge_l("", [reference]) == rouge_l("...", ["!"]) == 0
    assert words("The boy's RED-cap_1") == ["the", "boy", "s", "red", "cap", "1"]


@pytest.mark.parametrize(
    "text, cue, hit",
    [
        ("He spilled it", "spill", True),
        ("It is overwatered", "overwatering", True),
        ("They were baking", "bake a cake", False),
        ("They baked cakes", "baking of a cake", True),
        ("He stopped", "stopping", True),
        ("He passed", "pass", True),
        ("the spillway", "spill", False),
        ("anything", "of", False),
    ],
)
def test_a_cue_is_named_if_all_its_words_are(text: str, cue: str, hit: bool) -> None:
    assert names_cue(text, cue) is hit


def test_explanations_take_the_best_reference_and_no_reasoning(tiny_mucr: Path) -> None:
    doc = documents.build("mucr_exp")[0]
    values = score_explanation(doc, "<think>Heat?</think>Paint was spilled.")
    assert values["exp_score"] == values["exp_rougeL"]["score"] == values["exp_cue_hit"] == 1
    silent = score_explanation(doc, "<think>Paint was spilled.")
    assert silent["exp_score"] == silent["exp_cue_hit"] == 0 and silent["mucr_invalid_rate"] == 1


_PIECES = (
    *("the", "boy", "spilled", "spilling", "paint", "paints", "floor", "spill", "of", "-", "\n"),
    *("\u202e", "\x00", "🙂", "é", "<think>", "</think>", "ＰＡＩＮＴ", "\u0301" * 9, "'s", "s"),
)


def _check_explanations(rounds: int, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(rounds):
        wild = "".join(map(chr, draw.choices(range(1, 0x3000), k=draw.randrange(6))))
        text = " ".join([*draw.choices(_PIECES, k=draw.randrange(8)), wild])
        other = " ".join(draw.choices(_PIECES[:8], k=draw.randrange(1, 6)))
        overlap = rouge_l(text, [other])
        assert 0 <= overlap <= 1 and overlap == rouge_l(other, [text]), text
        assert (overlap == 1) == (words(text) == words(other)), text
        assert rouge_l(text, [other, text]) == float(bool(words(text))) or not words(text)
        assert not names_cue(text, other) or names_cue(f"{wild} {text} {wild}", other), text
        assert names_cue(f"{text} {other}", other), other
        assert not names_cue("", other)


def test_generated_explanations() -> None:
    _check_explanations(1_000, seed=0)


@pytest.mark.slow
def test_a_hundred_thousand_generated_explanations() -> None:
    _check_explanations(25_000, seed=1)  # four texts each
    for piece in ("a ", "paint ", "((", "<think>", "\u0301\u0327", "x"):
        noise = piece * (1_000_000 // len(piece))
        assert rouge_l(noise, ["the boy spilled paint"]) < 0.1
        assert names_cue(noise, "paint") == (piece == "paint ")

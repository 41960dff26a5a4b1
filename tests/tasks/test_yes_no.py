"""Answers to yes/no and true/false questions, and the ratios that are made of them."""

from __future__ import annotations

import math
import random
import re

import pytest

from lmms_causal.tasks import detection
from lmms_causal.tasks.mme_subscores.scoring import harness_prediction
from lmms_causal.tasks.pope_strict.scoring import papers_prediction
from lmms_causal.tasks.vlind.scoring import authors_prediction
from lmms_causal.tasks.yes_no import commit_to_true_or_false, commit_to_yes_or_no


@pytest.mark.parametrize(
    "text, answer",
    [
        ("Yes.", "yes"),
        ("**No**", "no"),
        (r"\boxed{\text{yes}}", "yes"),
        ("Ｙｅｓ。", "yes"),
        ("No, there is no horse.", "no"),
        ("There is no horse", "no"),
        ("There isn't a cat in it.", "no"),
        ("There is a kettle in the image.", "yes"),
        ("Yes, with no lid", "yes"),
        ("Yes, there is no doubt about it", "yes"),
        ("The answer is no because it is a pony.", "no"),
        ("No horse is visible.", "no"),
        ("<think>yes? no?</think>Yes", "yes"),
        ("Is there a dog? Yes, there is.", "yes"),
    ],
)
def test_a_committed_answer(text: str, answer: str) -> None:
    assert commit_to_yes_or_no(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        *("", "...", "horse", "Yes or no", "Yes/No", "yes no", "No. Yes.", "not yes"),
        *("No idea", "I have no idea.", "There is no way to tell", "I cannot say yes"),
        *("Yes, there is no horse.", "No, there is a horse.", "I don't know if there is a cat"),
        *("yesterday", "know, nothing", "<think>yes", "There is a dog. There is no dog."),
    ],
)
def test_no_answer(text: str) -> None:
    assert commit_to_yes_or_no(text) is None


@pytest.mark.parametrize(
    "text, answer",
    [
        ("True.", "true"),
        ("The statement is not true.", "false"),
        ("It is **False**", "false"),
        ("True or False", None),
        ("neither", None),
        ("not true, but also true", None),
        ("untrue", None),
    ],
)
def test_true_or_false(text: str, answer: str | None) -> None:
    assert commit_to_true_or_false(text) == answer


_DRESS = (
    "{}",
    "**{}**",
    '"{}"',
    "({})",
    "{}!",
    "Answer: {}",
    "the answer is {}.",
    "{}\n\n",
    "`{}`",
)
_BETWEEN = (" or ", " and ", "/", ", ", ". ", "\n", " | ", "; ", " - ", "，", " vs. ")
_NOISE = ("<think>", "</think>", "\u200b", "é", "🙂", "答案", "horse", "1", "\\boxed{", "$", "'")
_HEDGES = ("", "I think ", "Well, ", "Sure: ", "As an AI, ", "Let me see. ")


def _some_noise(draw: random.Random) -> str:
    return " ".join(draw.choices(_NOISE, k=draw.randrange(6)))


def _check_generated(count: int, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(count):
        pair = draw.choice((("yes", "no"), ("true", "false")))
        parse = commit_to_yes_or_no if pair[0] == "yes" else commit_to_true_or_false
        one, other = draw.sample(pair, 2)
        cases = [str.upper, str.lower, str.title]
        written = [
            draw.choice(_DRESS).format(draw.choice(cases)(word)) for word in (one, other, one)
        ]
        hedge = draw.choice(_HEDGES)
        assert parse(hedge + written[0]) == one, hedge + written[0]
        both = hedge + written[0] + draw.choice(_BETWEEN) + written[1]
        assert parse(both) is None, both
        assert parse(f"<think>{both}</think>{written[2]}") == one
        assert parse(f"<think>{both}") is None
        noise = _some_noise(draw) + draw.choice(("", written[0], both)) + _some_noise(draw)
        result = parse(noise)
        named = set(re.findall(r"\w+", noise.casefold())) & set(pair)
        assert result is None or result in named
        for rule in (harness_prediction, authors_prediction):
            assert rule(noise) in (None, "yes", "no", "true", "false")
        assert papers_prediction(noise, "yes") in ("yes", "no")


def test_generated_answers_never_name_two_and_count() -> None:
    _check_generated(500, seed=0)


@pytest.mark.slow
def test_a_hundred_thousand_generated_answers() -> None:
    _check_generated(20_000, seed=1)  # five to seven texts each


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["no ", "yes\n", "x", "there is ", "not ", "\u00e9!", "<b>"])
def test_a_megabyte_of_noise(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    assert commit_to_yes_or_no(text) in (None, "yes", "no")
    assert commit_to_true_or_false(text) is None


def _records(*pairs: tuple[str, str | None]) -> list[dict]:
    return [{"gold": gold, "pred": pred} for gold, pred in pairs]


def test_ratios_of_a_hand_counted_table() -> None:
    """3 yes of which 2 found, 2 no of which 1 found; one answer is unreadable."""
    records = [
        *_records(("yes", "yes"), ("yes", "yes"), ("yes", None), ("no", "yes"), ("no", "no")),
        None,
    ]
    assert detection.accuracy(records) == 3 / 5
    assert detection.precision_of_yes(records) == 2 / 3
    assert detection.recall_of_yes(records) == 2 / 3
    assert detection.f1_of_yes(records) == 2 / 3
    assert detection.precision_of_no(records) == 1
    assert detection.recall_of_no(records) == 1 / 2
    assert detection.f1_of_no(records) == 2 / 3
    assert detection.yes_ratio(records) == 3 / 5


def test_published_baselines() -> None:
    """Always yes on POPE; always no on AMBER's shares of gold answers (reference: 66.3, 79.7)."""
    pope = _records(*[("yes", "yes")] * 50, *[("no", "yes")] * 50)
    assert detection.accuracy(pope) == detection.precision_of_yes(pope) == 0.5
    assert (detection.recall_of_yes(pope), detection.yes_ratio(pope)) == (1, 1)
    assert round(100 * detection.f1_of_yes(pope), 1) == 66.7
    yes = 4764 // 2 + 2072 // 2 + 792 // 2 + 975
    amber = _records(*[("yes", "no")] * yes, *[("no", "no")] * (14_216 - yes))
    assert round(100 * detection.precision_of_no(amber), 1) == 66.3
    assert round(100 * detection.f1_of_no(amber), 1) == 79.7


def test_ratios_without_a_denominator_are_not_zero() -> None:
    assert math.isnan(detection.accuracy([]))
    assert math.isnan(detection.precision_of_yes(_records(("yes", "no"))))
    assert detection.f1_of_yes(_records(("yes", "no"))) == 0
    assert math.isnan(detection.recall_of_yes(_records(("no", "no"))))

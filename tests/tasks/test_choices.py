"""Free text to an answer: what counts, and above all what does not."""

from __future__ import annotations

import pytest

from lmms_causal.tasks.choices import parse_letter, parse_word, parse_yes_no, strip_reasoning

OPTIONS = {"A": "The lamp is lit because it is dark.", "B": "It is dark because the lamp is lit."}


@pytest.mark.parametrize(
    "text, letter",
    [
        ("B", "B"),
        (" b ", "B"),
        ("(B)", "B"),
        ("**B**.", "B"),
        ("B.", "B"),
        ("B. It is dark because", "B"),
        ("(A) The lamp", "A"),
        ("A\n\nBecause of the light.", "A"),
        ("Answer: B", "B"),
        ("answer: b", "B"),
        ("The answer is (A).", "A"),
        ("The correct answer is option B because B fits", "B"),
        ("I first thought the answer is A. No, the answer is B.", "B"),
        ("Caption A is wrong way round, so it must be ... (A) no", "A"),
        ("I would choose option B", "B"),
        ("I choose B", "B"),
        ("<think>A? The answer is A.</think>B", "B"),
        ("A or B, let me see</think> B", "B"),
        ("It is dark because the lamp is lit", "B"),
        ('I would say: "the lamp is lit, because it is dark!"', "A"),
    ],
)
def test_a_committed_answer_is_read(text: str, letter: str) -> None:
    assert parse_letter(text, OPTIONS) == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "C",
        "AB",
        "A man is standing in the room.",
        "Option A or option B",
        "Both A and B.",
        "The answer is a matter of taste.",
        "<think>The answer is B, I am quite sure, but let me",
        "The lamp is lit because it is dark. It is dark because the lamp is lit.",
        "I cannot see the picture.",
    ],
)
def test_an_uncommitted_answer_is_invalid(text: str) -> None:
    assert parse_letter(text, OPTIONS) is None


def test_identical_options_cannot_be_told_by_their_text() -> None:
    same = {"A": "It rains.", "B": "It rains."}
    assert parse_letter("It rains.", same) is None
    assert parse_letter("B", same) == "B"


def test_the_first_listed_word_counts_and_only_whole_words() -> None:
    colours = ("red", "green")
    assert parse_word("Bored? Green, not red.", colours) == "green"
    assert parse_word("reddish", colours) is None
    assert parse_yes_no("No. Yes would be wrong.") == "no"
    assert parse_yes_no("I know nothing") is None


def test_reasoning_is_removed_also_when_a_tag_is_missing() -> None:
    assert strip_reasoning("<think>a</think> x <analysis>b</analysis> y") == "x   y"
    assert strip_reasoning("a</think>x") == "x"
    assert strip_reasoning("x<think>a") == "x"

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
        ("Option A is wrong, so B", "B"),
        ("Caption B is reversed, so A is the answer.", "A"),
        ("B, A has cause and effect reversed", "B"),
        ("Option A is incorrect. Option B is correct.", "B"),
        ("A, not B", "A"),
        ("A or B? B", "B"),
        ("A is right and B is wrong", "A"),
        ("The correct caption is A. The", "A"),
        ("Caption A correctly states that", "A"),
        ("B because the lamp", "B"),
        ("B - the lamp", "B"),
        ("__B__", "B"),
        (r"The answer is $\boxed{\text{B}}$", "B"),
        ("答案是B。", "B"),
        ("（Ｂ）", "B"),
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
        "A or B",
        "The answer is A or B.",
        "Answer: A, B",
        "Answer: neither A nor B",
        "Option A is wrong",
        "Not A.",
        "The answer is not B",
        "I do not think that A is right",
        "A is wrong. B is wrong.",
        "Answer: A lamp is lit because",
        "The answer is B? No, A",
        "A. The lamp is lit because it is dark.\nB. It is dark because the lamp is lit.",
        "A\nB",
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
    assert parse_yes_no("__Yes__") == "yes"


def test_reasoning_is_removed_also_when_a_tag_is_missing() -> None:
    assert strip_reasoning("<think>a</think> x <analysis>b</analysis> y") == "x   y"
    assert strip_reasoning("a</think>x") == "x"
    assert strip_reasoning("x<think>a") == "x"

"""Free text to an answer: what counts, and above all what does not."""

from __future__ import annotations

import pytest

from lmms_causal.tasks.choices import parse_letter, parse_word, strip_reasoning
from lmms_causal.tasks.yes_no import parse_yes_no

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
        ("option 2", "B"),
        ("A: it is dark.\nB: the lamp.\nThe answer is B.", "B"),
        ("B: the lamp.\nA: it is dark.\nThe answer is A.", "A"),
        ("Answer: A. Final answer: B", "B"),
        ("The final answer is (A).", "A"),
        ("Let me compare A and B. A is better.", "A"),
        ("Both A and B fit, but B fits better. Answer: B", "B"),
        ("The answer is A. B is the reverse of it.", "A"),
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
        "A. B",
        "B. A.",
        "Answer: A. Answer: B",
        "The answer is A. The answer is B.",
        "Answer: A\n\nB. It is dark",
        "A or maybe B",
        "A -- option 2",
        r"\boxed{A} or \boxed{B}",
        "A. The lamp. B. The dark.",
        "Final answer: A. Final answer: A, or B.",
        "A or B: it is dark because the lamp is lit.",
    ],
)
def test_an_uncommitted_answer_is_invalid(text: str) -> None:
    assert parse_letter(text, OPTIONS) is None


def test_identical_options_cannot_be_told_by_their_text() -> None:
    same = {"A": "It rains.", "B": "It rains."}
    assert parse_letter("It rains.", same) is None
    assert parse_letter("B", same) == "B"


def test_one_listed_word_counts_and_only_whole_words() -> None:
    colours = ("red", "green")
    assert parse_word("Bored? Green, not red.", colours) == "green"
    assert parse_word("It is red rather than a green one.", colours) == "red"
    assert parse_word("It isn't red.", colours) is None
    assert parse_word("reddish", colours) is None
    assert parse_word("red green", colours) is None


@pytest.mark.parametrize(
    "text, answer",
    [
        ("__Yes__", "yes"),
        ("No. Yes would be wrong.", "no"),
        ("Yes, because no one moves.", "yes"),
        ("Yes, the bowl with no lid.", "yes"),
        ("No, there is no lamp", "no"),
        ("there is no such relation", "no"),
        ("The answer is no because it is dark", "no"),
        ("I know nothing", None),
        ("I have no idea", None),
        ("not yes", None),
        ("yes or no", None),
        ("Yes/No", None),
        ("Yes\nNo", None),
        ("Yes. No.", None),
        ("no (yes)", None),
    ],
)
def test_yes_and_no_count_alone(text: str, answer: str | None) -> None:
    assert parse_yes_no(text) == answer


def test_reasoning_is_removed_also_when_a_tag_is_missing() -> None:
    assert strip_reasoning("<think>a</think> x <analysis>b</analysis> y") == "x   y"
    assert strip_reasoning("a</think>x") == "x"
    assert strip_reasoning("x<think>a") == "x"

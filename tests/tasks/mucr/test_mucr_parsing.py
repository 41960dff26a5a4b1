"""Answers in every dress: what is read, and that a text that names two is never an answer."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from lmms_causal.tasks.choices import parse_letter, strip_reasoning
from lmms_causal.tasks.mucr.parsing import parse_final_option, parse_option, without_reasoning

CUES = {"A": "floor", "B": "spill", "C": "red cap", "D": "kitchen"}


@pytest.mark.parametrize(
    "text, letter",
    [
        ("B", "B"),
        ("(b)", "B"),
        ("**B**.", "B"),
        ("Answer: B", "B"),
        ("<think>A. Or C? The answer is A.</think>B", "B"),
        ("Image B, because it is the same boy.", "B"),
        ("Scene B", "B"),
        ("The second picture is scene B.", "B"),
        ("Option 2", "B"),
        ("candidate number 4", "D"),
        ("phrase #2", "B"),
        ("It is not scene A. The answer is C.", "C"),
        ("A, C and D show other people. Answer: B", "B"),
        ("The link is the spill.", "B"),
        ("C. red cap", "C"),
        ("Ｂ。", "B"),
        (r"$\boxed{\text{D}}$", "D"),
        ("Answer: B, not A", "B"),
    ],
)
def test_one_named_option_is_read(text: str, letter: str) -> None:
    assert parse_option(text, CUES) == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "E",
        "2",
        "image 2",
        "the second picture",
        "option 5",
        "option 2.5",
        "Answer: A. Answer: B.",
        "answer: a\nanswer: b",
        "I first thought the answer is A. No, the answer is B.",
        "Answer: A, B, C",
        "A. B.",
        "A, B are both right",
        "A and B is correct",
        "Answer: A. Option B.",
        "Answer: A. B is correct too, and B is also right",
        "A. floor\nB. spill",
        "A. floor\nB. spill\nC. red cap\nD. kitchen",
        "floor, spill",
        "A boy in a red ca",
        "I cannot tell from these pictures.",
        "<think>The answer is B",
    ],
)
def test_anything_else_is_invalid(text: str) -> None:
    assert parse_option(text, CUES) is None


@pytest.mark.parametrize(
    "text, letter",
    [
        ("1. A: a red cap. B: a blue cap.\n2. B fits, A does not.\nAnswer: A", "A"),
        ("1. Cause: ...\n**Answer:** (C)", "C"),
        ("Answer: A seems likely at first.\n3. ...\n**Answer**: D.", "D"),
        ("1. A boy.\nThe final answer is B.", "B"),
        ("1. ...\nC", "C"),
        ("Answer:\nB", "B"),
        ("1. Cause: a boy.\nA: a boy with a cap", None),
        ("1. The cause has a cap.\n2. B has a cap", None),
        ("Answer: A or B", None),
        ("Answer: <letter>", None),
        ("<think>Answer: B</think>", None),
    ],
)
def test_after_steps_only_the_final_answer_counts(text: str, letter: str | None) -> None:
    assert parse_final_option(text, "ABCD") == letter


def test_reasoning_is_taken_out_as_by_the_slow_function() -> None:
    draw = random.Random(0)
    parts = ["<think>", "</think>", "x ", "B ", "\n"]
    for _ in range(500):
        text = "".join(draw.choices(parts[:3], k=draw.randrange(5)))
        # With nested blocks the two need not agree, and no model writes them.
        if text.count("<think>") <= 1:
            assert without_reasoning(text).split() == strip_reasoning(text).split(), text


ONE: tuple[Callable[[str], str], ...] = (
    lambda letter: letter,
    lambda letter: f"({letter})",
    lambda letter: f"**{letter}**",
    lambda letter: f"{letter}.",
    lambda letter: f"Answer: {letter}",
    lambda letter: f"answer: {letter.lower()}",
    lambda letter: f"The answer is ({letter}).",
    lambda letter: f"Option {letter}.",
    lambda letter: f"Scene {letter} is correct.",
    lambda letter: f"\\boxed{{{letter}}}",
    lambda letter: f"{letter} is the right one.",
    lambda letter: f"{letter}. {CUES[letter]}",
    lambda letter: f"option {'ABCD'.index(letter) + 1}",
    lambda letter: chr(ord(letter) - ord("A") + ord("\N{FULLWIDTH LATIN CAPITAL LETTER A}")),
)
JOINTS = (" ", "\n", ". ", ", ", "; ", " or ", " and ", "/", " & ", "\n\n", " -- ", " or maybe ")
NOISE = (
    *("", "I cannot see the pictures.", "As an AI model, I", "\u202e", "\x00", "🙂" * 5, "ü", "''"),
    *(
        "<think>",
        "</think>",
        "<analysis>A</analysis>",
        "((((",
        "no.",
        "none",
        "both",
        "e.g.",
        "Ａ1",
    ),
    *("The boy mops.", "a", "A dog", "1.", "image 3", "不", "\u0301\u0327" * 9, "{[(<" * 9, "1,2"),
)


def _survives(draws: int) -> None:
    draw = random.Random(draws)
    valid = set("ABCD") | {None}
    for number in range(draws):
        first, second = draw.sample("ABCD", 2)
        two = draw.choice(ONE)(first) + draw.choice(JOINTS) + draw.choice(ONE)(second)
        hidden = f"<think>{draw.choice(NOISE)} {two}</think>" if number % 5 == 0 else ""
        assert parse_option(hidden + two, "ABCD") is None, repr(hidden + two)
        assert parse_option(hidden + two, CUES) is None, repr(hidden + two)
        noise = "".join(draw.choice(NOISE) + draw.choice(JOINTS) for _ in range(number % 6))
        wild = "".join(map(chr, draw.choices(range(1, 0x3000), k=number % 9)))
        for text in (noise + wild, wild + two + noise, noise + draw.choice(ONE)(first)):
            assert parse_option(text, CUES) in valid
            assert parse_final_option(text, "ABCD") in valid


def test_no_two_letters_in_any_two_dresses_are_an_answer() -> None:
    for first_dress in ONE:
        for second_dress in ONE:
            for joint in JOINTS:
                for first, second in (("A", "B"), ("B", "A"), ("D", "B")):
                    text = first_dress(first) + joint + second_dress(second)
                    assert parse_option(text, CUES) is None, text


def test_no_generated_text_that_names_two_options_is_an_answer() -> None:
    _survives(2_000)


@pytest.mark.slow
def test_nor_is_any_of_a_hundred_thousand() -> None:
    _survives(100_000)


def test_every_dress_of_one_letter_is_read() -> None:
    for dress in ONE:
        for letter in CUES:
            assert parse_option(dress(letter), CUES) == letter, dress(letter)
            assert parse_option(f"<think>A or B</think>\n{dress(letter)}", CUES) == letter


PIECES = (
    *("(", "([{<", "<think>", "</think>", "A ", "A or ", "A,", "Answer: ", "\u0301\u0327", " "),
    *("not A ", "A is ", "option ", "word ", "x", "\n", "A\n", "<think>A</think>", "_", "答案"),
)


@pytest.mark.parametrize("piece", PIECES)
def test_a_megabyte_of_one_thing_is_read_in_passing(piece: str) -> None:
    """Quadratic time would take hours, so that this test need not look at a clock."""
    text = piece * (1_000_000 // len(piece))
    assert parse_option(text, CUES) in (None, "A")
    assert parse_final_option(text + "\nAnswer: B", CUES) in (None, "B")


def test_what_the_shared_parser_reads_without_contradiction_stays() -> None:
    for text in ("B. spill", "(C)", "the correct option is D", "spill", "I would choose option B"):
        assert parse_option(text, CUES) == parse_letter(text, CUES) is not None

"""Reading orders of clips: the authors' rule against two more readings of it; the strict one."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmms_causal.tasks.vcrbench_causal.orders import parse_official, parse_order

#: (number of clips, response, order by the authors' scorer, order read strictly); the third column
#: was made with the authors' code.
RESPONSES = (
    (4, "Correct order: Clip 2, Clip 4, Clip 1, Clip 3", (2, 4, 1, 3), (2, 4, 1, 3)),
    (
        4,
        "Clip 2 shows peeling. Clip 4 shows chopping.\n\n**Correct order:** 2, 4, 3, 1",
        *((2, 4, 3, 1), (2, 4, 3, 1)),
    ),
    (4, "Correct order: 2, 4, 1", None, None),
    (4, "Correct order: 2 > 4 > 1 > 3", None, (2, 4, 1, 3)),
    (
        4,
        "The video has Clip 1, Clip 2, Clip 3, and Clip 4.\nCorrect order: 2, 4, 1, 3",
        *((1, 2, 3, 4), (2, 4, 1, 3)),
    ),
    (5, "Since there are 5 clips, the correct order is 3, 5, 1, 2, 4", None, (3, 5, 1, 2, 4)),
    (
        5,
        "There are 5 clips. The correct order is 3, 5, 1, 2, and 4.",
        *((3, 5, 1, 2, 4), (3, 5, 1, 2, 4)),
    ),
    (
        5,
        "Correct order: 3, 5, 1, 2, 4, as pouring must be last",
        *((3, 5, 1, 2, 4), (3, 5, 1, 2, 4)),
    ),
    (3, "1. Clip 3\n2. Clip 1\n3. Clip 2", None, (3, 1, 2)),
    (3, "Correct order: <Clip 1, Clip 3, Clip 2>", (1, 3, 2), (1, 3, 2)),
    (3, "Correct order: 3, 1, 2\n(Alternatively: 1, 3, 2)", (3, 1, 2), None),
)


@pytest.mark.parametrize("n, text, official, strict", RESPONSES)
def test_worked_examples(n: int, text: str, official: tuple | None, strict: tuple | None) -> None:
    assert parse_official(text, n) == official
    assert parse_order(text, n) == strict


@pytest.mark.parametrize(
    "text, order",
    [
        ("3 -> 1 -> 2", (3, 1, 2)),
        ("3 → 1 → 2", (3, 1, 2)),
        ("Clip 3 (melt), Clip 1 (pour) and finally Clip 2 (chill)", (3, 1, 2)),
        ("First Clip 3, then Clip 1, then Clip 2.", (3, 1, 2)),
        ("**3，1，2**", (3, 1, 2)),
        ("\\boxed{3, 1, 2}", (3, 1, 2)),
        ("<answer>Clip3;Clip1;Clip2</answer>", (3, 1, 2)),
        ("<think>Correct order: 1, 2, 3</think>Correct order: 3, 1, 2", (3, 1, 2)),
        ("<think>Correct order: 3, 1, 2", None),
        ("Correct order:\n\nClip 3\nClip 1\nClip 2", (3, 1, 2)),
        ("Correct order:\n3\n1\n2", (3, 1, 2)),
        ("Correct order:\n- Clip 3: melting\n- Clip 1: pouring\n- Clip 2: chilling", (3, 1, 2)),
        ("Correct order: 3, 1, 2\nClip 1: pouring\nClip 2: chilling\nClip 3: melting", (3, 1, 2)),
        ("Clip 1: pouring\nClip 2: chilling\nClip 3: melting", None),  # described, not ordered
        ("Correct order: 3, 1, 2, not 1, 2, 3.", (3, 1, 2)),
        ("I am not sure. 3, 1, 2", (3, 1, 2)),
        ("Not 1, 2, 3 but 3, 1, 2", (3, 1, 2)),
        ("Correct order: 3, 1, 2 rather than the order 1, 2, 3", (3, 1, 2)),
        ("Correct order: 3, 1, 2. Correct order: 3, 1, 2.", (3, 1, 2)),
        ("Correct order: 3, 1, 2. Correct order: 2, 1, 3.", None),
        ("1. Clip 3\n2. Clip 1\n3. Clip 2\nThat is 3, 2, 1", None),
        ("3, 1, 2, 3", None),
        ("3, 1", None),
        ("3, 1, 4", None),
        ("312", None),
        ("Step 1: Clip 3\nStep 2: Clip 1\nStep 3: Clip 2", (3, 1, 2)),
        ("3. 1. 2.", None),
        ("", None),
        ("I cannot see the video.", None),
    ],
)
def test_an_order_counts_in_any_notation_but_only_one(text: str, order: tuple | None) -> None:
    assert parse_order(text, 3) == order


def _as_the_authors_do(text: str, n: int) -> tuple[int, ...] | None:
    """Their loop, step by step, with the lead-in phrases that it never gets to."""
    for phrase in ("", "correct order is:", "correct order:", "the final output should be"):
        after = []
        for sentence in re.split(r"(?<=[.!?])\s+|\n+", text.replace("*", "")):
            if found := re.search(re.escape(phrase), sentence, re.IGNORECASE):
                after.append(sentence[found.end() :].strip())
        for candidate in after:
            fields = [re.search(r"\d+", field.strip()) for field in candidate.split(",")]
            numbers = [int(field.group()) for field in fields if field]
            if len(numbers) == n and set(numbers) == set(range(1, n + 1)):
                return tuple(numbers)
        if after:
            break
    return None


PIECES = (
    *("Correct order:", "Clip ", "1", "2", "3", "4", ", ", ",", "->", " ", "\n", ". ", "? ", "**"),
    *("and ", "12", "03", "٣", "３", "the", "3.0", "(", ")", "，", "not ", "1. ", "\u2028", "\t"),
)
RESPONSE = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=60)


@settings(max_examples=1000, deadline=None)
@given(RESPONSE, st.integers(3, 7))
def test_the_authors_rule_on_any_response(text: str, n: int) -> None:
    """Against their loop written out, and against lmms-eval's copy, which adds tags only."""
    from lmms_eval.tasks.vcrbench.utils import extract_predicted_order

    expected = _as_the_authors_do(text, n)
    assert parse_official(text, n) == expected
    if "<" not in text and "\\boxed" not in text:
        assert extract_predicted_order(text, n) == list(expected or [0] * n)


DRESSES = (
    *("{}", "({})", "Correct order: {}", "The correct order is {}.", "**Final answer:** {}"),
    *("<answer>{}</answer>", "\\boxed{{{}}}", "<think>1, 2, 3, 4</think>\n{}", "Order: <{}>"),
    *("There are 4 clips. Correct order: {}", "Clips 1 to 4 show it.\n{}\n", "{} \N{PARTY POPPER}"),
)
JOINS = (", ", ",", " -> ", "→", " > ", "; ", " ", ", then ", " and ", "、", " | ", " - ")
LABELS = ("{}", "Clip {}", "clip {}", "Clip{}", "#{}", "[{}]", "Step {}", "`{}`")
NOISE = ("", "Let me see.", "\u200b\u202e", "Sorry", "100 %", "Clip 2 is blue. ", "\x00", "e\u0301")


def _parsers_hold(seed: int, rounds: int) -> None:
    draw = random.Random(seed)
    for _ in range(rounds):
        n = draw.randint(3, 7)
        one, other = draw.sample(range(1, n + 1), n), draw.sample(range(1, n + 1), n)
        label = draw.choice(LABELS)
        dress = draw.choice(DRESSES if n == 4 else DRESSES[:7])
        said, otherwise = (
            dress.format(draw.choice(JOINS).join(label.format(clip) for clip in order))
            for order in (one, other)
        )
        noise = draw.choice(NOISE)
        assert parse_order(f"{noise}\n{said}", n) == tuple(one), (noise, said)
        bare = ", ".join(map(str, other))
        if "<think>" in said:
            continue
        for again in (bare, f"Correct order: {bare}", otherwise):
            text = f"Correct order: {one}\n{said}\nor\n{again}"
            assert parse_order(text, n) == (tuple(one) if one == other else None), text


def test_every_dress_is_read_and_no_two_answers_are_accepted() -> None:
    _parsers_hold(1, 2000)


@pytest.mark.slow
def test_every_dress_is_read_and_no_two_answers_are_accepted_at_length() -> None:
    _parsers_hold(2, 100_000)


@pytest.mark.parametrize(
    "piece", ["a ", "1", " ", "\n", "(", "1, ", "Clip ", "1. Clip 2\n", "*", "<think>", "not ", "٣"]
)
def test_a_megabyte_of_noise_has_no_order(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    assert parse_order(text, 4) is None
    assert parse_official(text, 4) is None
    ended = f"{text}\nCorrect order: 2, 1, 3"
    assert parse_order(ended, 3) == (None if piece == "<think>" else (2, 1, 3))

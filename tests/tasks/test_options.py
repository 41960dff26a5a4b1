"""Choices between options without letters: ties, credit, and what the order decides."""

from __future__ import annotations

import math
import random

import pytest

from lmms_causal.tasks.options import (
    MARGIN,
    ORDERS,
    both_orders_right,
    choose,
    early_rate,
    flip_rate,
    in_order,
    values_of_pair,
)

WORDS = ("ant", "bee", "cow", "doe")


def _values(decide: object, options: tuple[str, ...], pairs: int) -> list[dict]:
    """Both presentations of some pairs; ``decide(pair, listed)`` scores options by their text."""
    values = []
    for pair in range(pairs):
        for order in ORDERS:
            scored = decide(pair, in_order(options, order))
            choice = choose([scored[option] for option in options], right=0)
            values.append(values_of_pair(str(pair), order, options, choice))
    return values


def _rates(values: list[dict]) -> tuple[float, float, float]:
    return (
        flip_rate(value["position_bias"] for value in values),
        early_rate(value["first_rate"] for value in values),
        both_orders_right(value["consistent_acc"] for value in values),
    )


@pytest.mark.parametrize("count", [2, 3, 4])
def test_choosing_by_content_and_choosing_by_place(count: int) -> None:
    words = WORDS[:count]
    by_content = _values(lambda pair, _: dict(zip(words, range(count), strict=True)), words, 5)
    by_place = _values(lambda pair, seen: {w: -float(i) for i, w in enumerate(seen)}, words, 5)
    assert _rates(by_content) == (0, 0, 0)
    assert _rates(by_place) == (1, 0.5, 0)
    always_right = _values(lambda pair, _: {w: float(w == words[0]) for w in words}, words, 5)
    assert _rates(always_right) == (0, 0, 1)


def test_no_pair_flips_while_scores_move_by_less_than_the_margin() -> None:
    """Near ties included: the claim of invariance must not hang on rounding."""
    draw = random.Random(0)

    def decide(pair: int, listed: list[str]) -> dict[str, float]:
        base = random.Random(pair)
        gap = base.choice([0.0, MARGIN, -MARGIN, MARGIN * (1 + 1e-9), base.uniform(-3, 3) * MARGIN])
        scores = {"ant": -2.0, "bee": -2.0 + gap}
        return {word: score + draw.uniform(-0.49, 0.49) * MARGIN for word, score in scores.items()}

    values = _values(decide, WORDS[:2], 4000)
    assert flip_rate(value["position_bias"] for value in values) == 0
    ties = sum(value["tie_rate"] for value in values)
    assert 400 < ties < 7600  # neither never nor always: the margin is what was tested


def test_a_real_change_of_preference_is_a_flip() -> None:
    def decide(pair: int, listed: list[str]) -> dict[str, float]:
        return {listed[0]: -1.0, listed[1]: -1.0 - 2.1 * MARGIN}

    assert _rates(_values(decide, WORDS[:2], 3))[0] == 1


@pytest.mark.parametrize(
    "scores, index, credit, tie",
    [
        ([-1.0, -2.0, -3.0], 0, 1.0, False),
        ([-2.0, -1.0, -3.0], 1, 0.0, False),
        ([-1.0, -1.0, -3.0], None, 0.5, True),
        ([-1.0, -1.00004, -0.99996], None, 1 / 3, True),
        ([-3.0, -1.0, -1.0], None, 0.0, True),
        ([math.nan, -1.0, -2.0], 1, 0.0, False),
        ([math.nan] * 3, None, 0.0, False),
        ([-math.inf] * 3, None, 1 / 3, True),
        ([-5.0, -math.inf, math.nan], 0, 1.0, False),
    ],
)
def test_ties_earn_what_guessing_among_them_would(
    scores: list[float], index: int | None, credit: float, tie: bool
) -> None:
    choice = choose(scores, right=0)
    assert (choice.index, choice.tie) == (index, tie)
    assert choice.credit == pytest.approx(credit)


def test_pairs_cut_in_half_by_a_limit_do_not_count() -> None:
    values = _values(lambda pair, seen: {w: -float(i) for i, w in enumerate(seen)}, WORDS[:2], 2)
    assert flip_rate(value["position_bias"] for value in values[:3]) == 1
    assert math.isnan(flip_rate(value["position_bias"] for value in values[:1]))

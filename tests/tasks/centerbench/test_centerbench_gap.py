"""The gap and its intervals against closed forms and a plain loop."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from lmms_causal.tasks.centerbench import gap as gaps


def _records(rate: dict[tuple[str, int], float], sentences: int = 30, seed: int = 0) -> list[dict]:
    draw = random.Random(seed)
    return [
        {"sentence": f"{subset}/{level}/{index:02d}", "credit": float(draw.random() < share)}
        for (subset, level), share in rate.items()
        for index in range(1, sentences + 1)
        for _ in range(6 * (level + 1))
    ]


def _rates(plausible: float, implausible: float) -> dict[tuple[str, int], float]:
    rates = {"plausible": plausible, "implausible": implausible}
    return {(subset, level): rate for subset, rate in rates.items() for level in range(1, 7)}


@pytest.mark.parametrize("pair, value", [((1, 0), 100), ((0, 1), -100), ((1, 1), 0)])
def test_certain_answers_leave_no_interval(pair: tuple[float, float], value: float) -> None:
    records = _records(_rates(*pair))
    curve = gaps.gap_curve(records)
    for one in (curve.overall, curve.macro, curve.median, *curve.gaps):
        assert (one.value, one.low, one.high) == (value, value, value)
    assert (curve.slope.value, curve.slope.low, curve.slope.high) == (0, 0, 0)
    assert gaps.gap(records) == value


def test_a_gap_that_widens_by_ten_points_a_level_has_slope_ten() -> None:
    records = []
    for level in range(1, 7):
        for index in range(10):  # of ten sentences, `level` more are right in one subset
            for subset, right in (("plausible", 10), ("implausible", 10 - level)):
                answer = {"sentence": f"{subset}/{level}/{index}", "credit": float(index < right)}
                records += [answer] * 6 * (level + 1)
    assert gaps.gap_slope(records) == pytest.approx(10)
    assert gaps.gap_macro(records) == gaps.gap_median(records) == pytest.approx(35)
    weights = {level: level + 1 for level in range(1, 7)}
    expected = sum(10 * k * weights[k] for k in weights) / sum(weights.values())
    assert gaps.gap(records) == pytest.approx(expected)
    assert gaps.gap_curve(records, draws=0).overall.value == pytest.approx(expected)


def test_the_interval_is_that_of_a_loop_over_sentences() -> None:
    records = _records({**_rates(0.8, 0.5), ("implausible", 6): 0.1}, sentences=5)
    drawn = gaps.gap_curve(records, draws=200, seed=7)
    generator = np.random.default_rng(7)
    sums: dict[tuple[str, int], np.ndarray] = {}
    for level in range(1, 7):
        for subset in ("plausible", "implausible"):
            means = [
                np.mean(
                    [r["credit"] for r in records if r["sentence"] == f"{subset}/{level}/{i:02}"]
                )
                for i in range(1, 6)
            ]
            picks = generator.integers(5, size=(200, 5))
            sums[subset, level] = np.array([np.mean([means[i] for i in row]) for row in picks])
    by_level = [100 * (sums["plausible", k] - sums["implausible", k]) for k in range(1, 7)]
    weights = np.array([6 * (k + 1) for k in range(1, 7)])
    overall = weights @ np.array(by_level) / weights.sum()
    slopes = np.polyfit(range(1, 7), np.array(by_level), 1)[0]
    for one, draws in (
        *((drawn.overall, overall), (drawn.slope, slopes), (drawn.gaps[3], by_level[3])),
        (drawn.median, np.median(by_level, axis=0)),
    ):
        low, high = np.percentile(draws, [2.5, 97.5])
        assert (one.low, one.high) == pytest.approx((low, high), abs=1e-9)
    shuffled = random.Random(1).sample(records, len(records))
    assert gaps.gap_curve(shuffled, draws=200, seed=7) == drawn


def test_answers_of_one_sentence_that_go_together_widen_the_interval() -> None:
    """One coin per sentence against one per answer: the same mean, another spread."""
    draw = random.Random(3)
    apart = _records(_rates(0.5, 0.5))
    coins = {r["sentence"]: float(draw.random() < 0.5) for r in apart}
    together = [{**r, "credit": coins[r["sentence"]]} for r in apart]
    wide, narrow = gaps.gap_curve(together).overall, gaps.gap_curve(apart).overall
    # Variances differ by the number of answers on a sentence, 12 to 42.
    assert 3 < (wide.high - wide.low) / (narrow.high - narrow.low) < 8


def test_what_is_missing_is_not_a_number_and_no_exception() -> None:
    one_subset = [r for r in _records(_rates(1, 0)) if r["sentence"][0] == "p"]
    for records in ([], [None], one_subset):
        for function in (gaps.gap, gaps.gap_ci_low, gaps.gap_median, gaps.gap_slope):
            assert math.isnan(function(records))
    one_level = _records({("plausible", 2): 1.0, ("implausible", 2): 0.0})
    curve = gaps.gap_curve([*one_level, None, *one_subset])
    assert curve.levels == (2,) and curve.overall.value == 100
    assert math.isnan(curve.slope.value)

"""Resampling of metrics that are not means, against closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lmms_causal.compare.inference import resampling, statistics
from lmms_causal.compare.inference.sign_flip import sign_flip_test


def _records(scores: list[float]) -> list[dict[str, Any]]:
    return [
        {"id": str(index), "pair_id": str(index // 2), "score": score}
        for index, score in enumerate(scores)
    ]


def _mean(records: list[dict[str, Any]]) -> float:
    return sum(record["score"] for record in records) / len(records)


def _consistency(records: list[dict[str, Any]]) -> float:
    pairs: dict[str, list[float]] = {}
    for record in records:
        pairs.setdefault(record["pair_id"], []).append(record["score"])
    # A pair that a resample drew twice must have come apart into two pairs.
    assert all(len(scores) == 2 for scores in pairs.values())
    return float(np.mean([min(scores) for scores in pairs.values()]))


def test_bootstrap_of_pairs_equals_the_bootstrap_of_their_values() -> None:
    """Consistency is the mean of one number per pair: its standard error is that mean's."""
    rng = np.random.default_rng(0)
    a, b = (_records(rng.integers(0, 2, 200).astype(float).tolist()) for _ in range(2))
    clusters = [record["pair_id"] for record in a]
    interval = resampling.aggregate_bootstrap_interval(a, b, clusters, _consistency, resamples=1999)
    value = [
        [min(x["score"], y["score"]) for x, y in zip(run[::2], run[1::2], strict=True)]
        for run in (a, b)
    ]
    t = statistics.paired_t_interval(*value)
    assert interval.units == 100
    assert interval.estimate == pytest.approx(t.estimate)
    # 1999 resamples know a standard error to 1/sqrt(2 * 1999) = 1.6 %; five of those.
    assert interval.standard_error == pytest.approx(t.standard_error, rel=0.08)
    assert (interval.low, interval.high) == pytest.approx(
        (t.low, t.high), abs=0.3 * t.standard_error
    )


def test_bca_of_a_skewed_mean_is_that_of_means_and_not_the_percentile_interval() -> None:
    """Few documents change, all one way: the plain percentiles would end too low."""
    rng = np.random.default_rng(3)
    b = rng.exponential(size=40) ** 2
    a = [0.0] * 40
    ours = resampling.aggregate_bootstrap_interval(
        _records(a), _records(b.tolist()), list(range(40)), _mean, resamples=9999
    )
    direct = statistics.paired_bootstrap_interval(a, b, resamples=9999)
    draws = rng.choice(b, size=(9999, 40)).mean(axis=1)
    assert ours.method == direct.method == "bootstrap-bca"
    # The ends of 9999 draws are known to a few hundredths of a standard error.
    ends = np.array([ours.low, ours.high])
    assert ends == pytest.approx([direct.low, direct.high], abs=0.15 * ours.standard_error)
    assert abs(ours.high - np.quantile(draws, 0.975)) > 0.3 * ours.standard_error


def test_the_acceleration_of_blocks_is_that_of_single_documents() -> None:
    """Of a mean it is the skewness over 6 sqrt(n), and leaving out blocks of 10 estimates it."""
    values = np.random.default_rng(4).exponential(size=2000).tolist()
    members = [[row] for row in range(2000)]

    def mean(records: list[float]) -> float:
        return sum(records) / len(records)

    few = resampling._acceleration([0.0] * 150, values[:150], members[:150], mean)
    assert few == pytest.approx(stats.skew(values[:150]) / (6 * math.sqrt(150)), rel=1e-6)
    many = resampling._acceleration([0.0] * 2000, values, members, mean)
    # The skewness of 200 block means has a standard error of sqrt(6 / 200).
    noise = math.sqrt(6 / 200) / (6 * math.sqrt(200))
    assert many == pytest.approx(2 / (6 * math.sqrt(2000)), abs=3 * noise)


def test_swap_test_of_a_mean_agrees_with_the_exact_sign_flip() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 2, 60).astype(float).tolist() for _ in range(2))
    clusters = [index // 2 for index in range(60)]
    exact, _ = sign_flip_test(a, b, clusters)
    sampled = resampling.aggregate_swap_test(
        _records(a), _records(b), clusters, _mean, resamples=1999
    )
    # Five standard errors of a sampled share.
    assert sampled == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 1999) + 1 / 2000)


def test_swap_test_never_claims_more_than_its_number_of_resamples() -> None:
    a, b = _records([0.0] * 40), _records([1.0] * 40)
    p = resampling.aggregate_swap_test(a, b, list(range(40)), _mean, resamples=499)
    assert p == pytest.approx(1 / 500)


def test_plain_values_are_resampled_as_they_are() -> None:
    letters = list("AABBABABAA")
    interval = resampling.aggregate_bootstrap_interval(
        letters,
        letters[::-1],
        list(range(10)),
        lambda values: values.count("A") / len(values),
        resamples=199,
    )
    assert (interval.estimate, interval.units) == (0.0, 10)
    assert interval.low < 0.0 < interval.high


def test_swaps_under_which_the_metric_is_undefined_do_not_make_it_significant() -> None:
    """Half of the swaps leave one run without any value: NaN counts as extreme, not as small."""
    a, b = [1.0, None], [None, 0.0]

    def mean(values: list[float | None]) -> float:
        present = [value for value in values if value is not None]
        return sum(present) / len(present) if present else float("nan")

    assert resampling.aggregate_swap_test(a, b, [0, 1], mean, resamples=99) == 1.0

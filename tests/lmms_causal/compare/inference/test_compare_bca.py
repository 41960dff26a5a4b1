"""BCa intervals: SciPy's formula, and what is added to it for small samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lmms_causal.compare.inference import bca, resampling, statistics


def _skewed(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=n) ** 2


@pytest.mark.parametrize(
    ("sums", "sizes"),
    [
        (np.random.default_rng(0).normal(size=25), np.ones(25)),
        (_skewed(1, 40), np.ones(40)),
        (_skewed(2, 30), np.random.default_rng(2).integers(1, 9, 30).astype(float)),
        (np.repeat([0.0, 1.0, -1.0], [44, 5, 1]), np.ones(50)),  # draws tie with the estimate
    ],
)
def test_without_the_expansion_the_ends_are_scipys(sums: np.ndarray, sizes: np.ndarray) -> None:
    theirs = stats.bootstrap(
        (sums, sizes),
        lambda s, w, axis: s.sum(axis=axis) / w.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=2999,
        rng=np.random.default_rng(7),
    )
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    draws = theirs.bootstrap_distribution
    tails = bca.bca_tails(draws, sums.sum() / sizes.sum(), bca.acceleration_of(left_out), 0.95)
    expected = theirs.confidence_interval
    assert np.quantile(draws, tails) == pytest.approx([expected.low, expected.high], rel=1e-9)


def test_the_expanded_level_is_that_of_its_definition() -> None:
    z = 2.093024054408263 * math.sqrt(20 / 19)  # the t table's 2.0930, widened
    assert bca.expanded_level(0.95, 20) == pytest.approx(math.erf(z / math.sqrt(2)), rel=1e-10)
    assert bca.expanded_level(0.95, 10**8) == pytest.approx(0.95, abs=1e-8)
    levels = [bca.expanded_level(0.95, units) for units in (2, 3, 4, 10, 50, 200)]
    assert levels == sorted(levels, reverse=True) and levels[0] < 1.0


@pytest.mark.parametrize("units", [8, 20])
def test_a_mean_without_skewness_has_the_t_interval(units: int) -> None:
    """Plain percentiles are 18 and 8 % narrower: the expansion makes the difference."""
    b = stats.norm.ppf((np.arange(units) + 0.5) / units)
    a = np.zeros(units)
    t = statistics.paired_t_interval(a, b)
    ours = statistics.paired_bootstrap_interval(a, b, resamples=99_999)
    assert (ours.low, ours.high) == pytest.approx((t.low, t.high), abs=0.035 * t.high)
    shorter = stats.norm.ppf(0.975) / stats.t.ppf(0.975, units - 1) * math.sqrt(1 - 1 / units)
    assert shorter < 0.93

    def mean(records: list[float]) -> float:
        return sum(records) / len(records)

    resampled = resampling.aggregate_bootstrap_interval(
        a.tolist(), b.tolist(), list(range(units)), mean, resamples=9_999
    )
    # 9,999 draws know these ends to 2 %.
    assert (resampled.low, resampled.high) == pytest.approx((t.low, t.high), abs=0.06 * t.high)
    assert resampled.standard_error == pytest.approx(t.standard_error, rel=0.03)


def test_few_draws_lose_no_coverage() -> None:
    """399 draws at their expected places in (0, 1): the ends hold 95 %, not 94.5."""
    draws = np.arange(1, 400) / 400
    assert bca.bca_interval(draws, 0.5, 0.0, 0.95, 10**9) == pytest.approx((0.025, 0.975))


def test_a_statistic_that_is_undefined_on_a_resample_has_no_interval() -> None:
    ends = bca.bca_interval(np.array([0.1, np.nan, 0.3]), 0.2, 0.0, 0.95, 30)
    assert all(map(math.isnan, ends))
    assert math.isnan(bca.acceleration_of(np.array([0.1, np.nan])))
    assert bca.acceleration_of(np.full(5, 0.3)) == 0.0


def test_an_undefined_jackknife_leaves_the_plain_percentiles() -> None:
    draws = _skewed(3, 999)
    tails = bca.bca_tails(draws, float(draws.mean()), math.nan, 0.9)
    assert tails == pytest.approx((0.05, 0.95))


def test_the_scale_of_the_scores_is_the_scale_of_the_ends() -> None:
    """Ties are found by the spread of the draws, not by an absolute number."""
    a, b = np.zeros(40), np.repeat([0.0, 1.0, -1.0], [30, 7, 3])
    one = statistics.paired_bootstrap_interval(a, b, resamples=999)
    for factor in (1e-13, 1e13):
        other = statistics.paired_bootstrap_interval(a, factor * b, resamples=999)
        assert (other.low, other.high) == pytest.approx((factor * one.low, factor * one.high))


@pytest.mark.parametrize("cluster_size", [1, 2])
def test_drawing_kinds_of_documents_is_drawing_documents(cluster_size: int) -> None:
    """0/1 scores are drawn by kind: the distribution is that of drawing one by one."""
    rng = np.random.default_rng(5)
    a, b = (rng.integers(0, 2, 400).astype(float) for _ in range(2))
    clusters = [index // cluster_size for index in range(400)]
    ours = statistics.paired_bootstrap_interval(a, b, clusters, resamples=9_999)
    # A distinct trifle for each document makes each a kind of its own.
    odd = b + rng.uniform(0, 1e-9, 400)
    singly = statistics.paired_bootstrap_interval(a, odd, clusters, resamples=9_999)
    # Ends of 9,999 draws have an error of 0.03 standard errors.
    tolerance = 0.15 * ours.standard_error
    assert (ours.low, ours.high) == pytest.approx((singly.low, singly.high), abs=tolerance)

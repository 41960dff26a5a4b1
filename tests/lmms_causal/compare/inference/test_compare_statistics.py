"""Algebra of the paired statistics against closed forms, SciPy and lmms-eval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lmms_eval.api.metrics import clustered_stderr, paired_ttest
from scipy import stats

from lmms_causal.compare.inference import statistics
from lmms_causal.compare.inference.sign_flip import sign_flip_test


def _binary(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    a = rng.integers(0, 2, n).astype(float)
    changed = rng.random(n) < 0.3
    return a, np.where(changed, 1.0 - a, a)


@pytest.mark.parametrize(
    ("gained", "lost", "expected"),
    [
        (88, 0, 2 * 0.5**88),  # every discordant document one way
        (0, 5, 2 * 0.5**5),
        (7, 7, 1.0),
        (0, 0, 1.0),
        (1, 0, 1.0),
        # P(X <= 3) + P(X >= 9) for 12 fair coins: 2 * (1 + 12 + 66 + 220) / 4096
        (3, 9, 2 * 299 / 4096),
    ],
)
def test_mcnemar_has_its_closed_form(gained: int, lost: int, expected: float) -> None:
    assert statistics.mcnemar_from_counts(gained, lost).p == pytest.approx(expected, rel=1e-12)


def test_mcnemar_counts_the_flips_each_way() -> None:
    result = statistics.mcnemar_exact([0, 0, 1, 1, 1], [1, 1, 0, 1, 1])
    assert (result.gained, result.lost) == (2, 1)


def test_mcnemar_refuses_scores_that_are_not_right_or_wrong() -> None:
    with pytest.raises(ValueError, match="0 and 1"):
        statistics.mcnemar_exact([0.5, 1.0], [1.0, 1.0])


def test_t_interval_of_a_hand_computed_example() -> None:
    # d = 1, 0, 1, 0, 0: mean 0.4, s^2 = 0.3, SE = sqrt(0.06); t(0.975, 4) = 2.776445105
    interval = statistics.paired_t_interval([0, 0, 0, 1, 1], [1, 0, 1, 1, 1])
    half = 2.7764451051977987 * math.sqrt(0.06)
    assert interval.estimate == pytest.approx(0.4)
    assert (interval.low, interval.high) == pytest.approx((0.4 - half, 0.4 + half), rel=1e-9)


def test_t_interval_is_scipys_and_that_of_lmms_evals_baseline() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=53), rng.normal(0.2, 1.0, size=53)
    ours = statistics.paired_t_interval(a, b)
    theirs = stats.ttest_rel(b, a).confidence_interval(0.95)
    harness = paired_ttest(b.tolist(), a.tolist())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert (ours.low, ours.high) == pytest.approx((harness["ci_lower"], harness["ci_upper"]))
    assert ours.standard_error == pytest.approx(harness["se_diff"], rel=1e-12)


def test_clusters_of_one_document_change_nothing() -> None:
    a, b = _binary(np.random.default_rng(0), 41)
    alone = statistics.paired_t_interval(a, b, list(range(41)))
    plain = statistics.paired_t_interval(a, b)
    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high), rel=1e-12)
    assert plain.standard_error == pytest.approx(np.std(b - a, ddof=1) / math.sqrt(41), rel=1e-12)


def test_repeating_documents_inside_their_clusters_adds_no_information() -> None:
    values = np.random.default_rng(1).normal(size=29)
    once = statistics.clustered_standard_error(values, list(range(29)))
    thrice = statistics.clustered_standard_error(np.repeat(values, 3), np.repeat(range(29), 3))
    blind = statistics.clustered_standard_error(np.repeat(values, 3), None)
    assert thrice == pytest.approx(once, rel=1e-12)
    assert blind < 0.6 * once  # 1/sqrt(3) of it: the error that ignoring clusters makes


def test_clustered_error_is_lmms_evals_up_to_the_small_sample_factor() -> None:
    # lmms-eval: sum(d^2)/(n(n-1)) + cross/n^2; ours: G/(G-1) * (sum(d^2) + cross)/n^2.
    rng = np.random.default_rng(2)
    values, labels = rng.normal(size=60), rng.integers(0, 17, 60).tolist()
    squares = float(np.sum((values - values.mean()) ** 2))
    theirs = clustered_stderr(values.tolist(), labels) ** 2
    groups = len(set(labels))
    expected = groups / (groups - 1) * (theirs - squares / (60 * 59) + squares / 60**2)
    ours = statistics.clustered_standard_error(values, labels) ** 2
    assert ours == pytest.approx(expected, rel=1e-10)


def test_bootstrap_is_the_same_for_the_same_seed_only() -> None:
    a, b = _binary(np.random.default_rng(4), 60)
    first = statistics.paired_bootstrap_interval(a, b, seed=1, resamples=499)
    assert first == statistics.paired_bootstrap_interval(a, b, seed=1, resamples=499)
    other = statistics.paired_bootstrap_interval(a, b, seed=2, resamples=499)
    assert (first.low, first.high) != (other.low, other.high)


def test_holm_of_a_worked_example() -> None:
    # Sorted: .01 * 4, .02 * 3 = .06, .03 * 2 = .06, .04 * 1 raised to .06 by monotonicity.
    assert statistics.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_smallest_detectable_effect_has_the_stated_power() -> None:
    # The normal part: (1.959964 + 0.841621) * SE.
    assert statistics.minimum_detectable_effect(0.01) == pytest.approx(0.02801585, rel=1e-6)
    # The exact part: with so many documents changing one way, 6 or more change in 80 % of samples.
    share = statistics.minimum_detectable_effect(0.0, binary_units=5000)
    assert stats.binom.sf(5, 5000, share) == pytest.approx(0.8, abs=0.002)
    assert statistics.mcnemar_from_counts(6, 0).p < 0.05 < statistics.mcnemar_from_counts(5, 0).p


def test_scores_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        statistics.paired_t_interval([0, 1], [1])


@pytest.mark.slow
def test_intervals_cover_and_tests_keep_their_level_when_nothing_differs() -> None:
    """1000 null comparisons of 80 pairs of dependent documents, exchangeable within the pair."""
    rng = np.random.default_rng(9)
    covered = rejected = 0
    for _ in range(1000):
        difficulty = np.repeat(rng.random(80), 2)
        a, b = (np.repeat(rng.random(80), 2) < difficulty for _ in range(2))
        clusters = np.repeat(range(80), 2).tolist()
        interval = statistics.paired_t_interval(a, b, clusters)
        covered += interval.low <= 0.0 <= interval.high
        rejected += sign_flip_test(a, b, clusters)[0] < 0.05
    assert 930 <= covered <= 970
    assert rejected <= 70  # an exact test of a discrete statistic may stay below 5 %

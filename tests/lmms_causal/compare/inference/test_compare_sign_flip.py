"""The sign-flip test against McNemar's, enumeration and SciPy's permutation test."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from lmms_causal.compare.inference import statistics
from lmms_causal.compare.inference.sign_flip import sign_flip_test


def _binary(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    a = rng.integers(0, 2, n).astype(float)
    changed = rng.random(n) < 0.3
    return a, np.where(changed, 1.0 - a, a)


def test_sign_flip_of_independent_binary_documents_is_mcnemar() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 7, 101, 2003):
        a, b = _binary(rng, n)
        p, exact = sign_flip_test(a, b)
        assert exact
        assert p == pytest.approx(statistics.mcnemar_exact(a, b).p, rel=1e-9)


def test_sign_flip_over_clusters_equals_the_enumeration_of_all_patterns() -> None:
    rng = np.random.default_rng(6)
    a, b = _binary(rng, 36)
    clusters = [index // 3 for index in range(36)]
    totals = (b - a).reshape(12, 3).sum(axis=1)
    sums = [abs(float(np.dot(signs, totals))) for signs in itertools.product((-1, 1), repeat=12)]
    expected = np.mean([value >= abs(totals.sum()) for value in sums])
    p, exact = sign_flip_test(a, b, clusters)
    assert exact
    assert p == pytest.approx(expected, rel=1e-12)


def test_sign_flip_of_fractional_scores_enumerates_few_and_samples_many() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.random(9), rng.random(9)
    totals = b - a
    sums = [abs(float(np.dot(signs, totals))) for signs in itertools.product((-1, 1), repeat=9)]
    expected = np.mean([value >= abs(totals.sum()) - 1e-12 for value in sums])
    assert sign_flip_test(a, b) == (pytest.approx(expected), True)
    sampled = sign_flip_test(np.zeros(200), rng.random(200) + 0.1, resamples=999)
    assert sampled == (pytest.approx(1 / 1000), False)


def test_sampled_sign_flips_are_scipys_permutation_test() -> None:
    rng = np.random.default_rng(10)
    totals = rng.normal(0.2, 1.0, size=61)  # 61 signs fill bytes only in part
    ours, exact = sign_flip_test(np.zeros(61), totals, resamples=9_999)
    theirs = stats.permutation_test(
        (totals, np.zeros(61)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=9_999,
        rng=np.random.default_rng(0),
    ).pvalue
    assert not exact
    # Two sampled shares: five standard errors of their difference.
    assert ours == pytest.approx(theirs, abs=5 * np.sqrt(2 * theirs * (1 - theirs) / 9_999))
    again, _ = sign_flip_test(np.zeros(61), 1e-9 * totals, resamples=9_999)
    assert again == ours  # the unit of the scores does not matter


def test_whole_numbers_of_any_size_keep_their_exact_distribution() -> None:
    """Counts in thousands are counts; numbers too large to tabulate are sampled, not attempted."""
    a, b = _binary(np.random.default_rng(11), 90)
    assert sign_flip_test(1e9 * a, 1e9 * b) == sign_flip_test(a, b)
    mixed = np.array([3.0e9, 1.0, 7.0e12] * 20)
    p, exact = sign_flip_test(np.zeros(60), mixed, resamples=999)
    assert not exact and p == pytest.approx(1 / 1000)

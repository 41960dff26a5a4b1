"""Paired statistics on per-document scores: pure functions on arrays, no files, no printing.

Notation: ``d_i = b_i - a_i`` is the difference of document i, i = 1..n; documents that share an
image, a sentence or a pair form a *cluster*; G is the number of clusters (G = n without clusters).

Sources: Miller, "Adding Error Bars to Evals" (2024), equations 4 and 7; Cameron and Miller, "A
Practitioner's Guide to Cluster-Robust Inference" (2015), section II.C (the G/(G-1) factor and G-1
degrees of freedom); McNemar (1947); Holm (1979); Efron (1987) for the BCa interval.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]

#: Largest number of products spent on the exact sign-flip distribution before sampling it.
_EXACT_BUDGET = 50_000_000
_RESAMPLES = 9_999
#: Numbers drawn at once while resampling, which bounds the memory to a few tens of megabytes.
_BATCH_ELEMENTS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean paired difference with its confidence interval, in the unit of the scores.

    Attributes:
        estimate: Mean of ``b - a`` over documents.
        standard_error: Its (cluster-robust) standard error.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Nominal coverage, e.g. 0.95.
        units: Number of independent units: clusters, or documents without clusters.
        method: "t" or "bootstrap-bca" (Efron 1987).
    """

    estimate: float
    standard_error: float
    low: float
    high: float
    level: float
    units: int
    method: str


@dataclass(frozen=True)
class McNemar:
    """Exact two-sided McNemar test of two sets of right-or-wrong answers.

    Attributes:
        gained: Documents wrong in A and right in B.
        lost: Documents right in A and wrong in B.
        p: Two-sided binomial p-value of that split of the discordant documents.
    """

    gained: int
    lost: int
    p: float


def cluster_totals(
    values: ArrayLike, clusters: Sequence[Hashable] | None
) -> tuple[Array, NDArray[np.int64]]:
    """Sum `values` (n,) within clusters; returns the sums (G,) and the cluster sizes (G,)."""
    values = np.asarray(values, dtype=np.float64)
    if clusters is None:
        return values, np.ones(len(values), dtype=np.int64)
    if len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} cluster labels")
    order: dict[Hashable, int] = {}
    codes = np.array([order.setdefault(label, len(order)) for label in clusters], dtype=np.int64)
    sums = np.bincount(codes, weights=values, minlength=len(order)).astype(np.float64)
    return sums, np.bincount(codes, minlength=len(order)).astype(np.int64)


def clustered_standard_error(values: ArrayLike, clusters: Sequence[Hashable] | None) -> float:
    """Standard error of the mean of `values` (n,) when documents of a cluster are dependent.

    ``SE^2 = G / (G - 1) * sum_c (sum_{i in c} (d_i - mean))^2 / n^2``: equation 4 of Miller (2024)
    written over cluster totals, with the factor G/(G-1) of Cameron and Miller (2015). With
    clusters of one document it is exactly ``s / sqrt(n)``; repeating every document inside its
    cluster leaves it unchanged. NaN with fewer than two clusters.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return float("nan")
    sums, sizes = cluster_totals(values - values.mean(), clusters)
    groups = len(sums)
    if groups < 2:
        return float("nan")
    return float(np.sqrt(groups / (groups - 1) * np.sum(sums**2)) / sizes.sum())


def paired_t_interval(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Interval:
    """Confidence interval of the mean of ``b - a`` from Student's t with G-1 degrees of freedom.

    Without clusters this is the ordinary paired t interval, the one of lmms-eval's ``--baseline``.
    The ends are NaN with fewer than two independent units.
    """
    difference = _difference(a, b)
    error = clustered_standard_error(difference, clusters)
    units = len(cluster_totals(difference, clusters)[0])
    estimate = float(difference.mean()) if len(difference) else float("nan")
    half = float(stats.t.ppf(0.5 + level / 2, units - 1)) * error if units > 1 else float("nan")
    return Interval(estimate, error, estimate - half, estimate + half, level, units, "t")


def paired_bootstrap_interval(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int | None = None,
) -> Interval:
    """BCa bootstrap interval of the mean of ``b - a``, drawing whole clusters.

    SciPy's bootstrap over clusters; the statistic is the ratio of the drawn clusters' totals to
    their sizes, so clusters of unequal size keep their weight. When all clusters have the same
    mean difference the resamples are all equal and so are the ends of the interval.
    """
    difference = _difference(a, b)
    t = paired_t_interval(a, b, clusters, level)
    if t.units < 2 or t.standard_error == 0.0:
        return Interval(
            t.estimate, t.standard_error, t.low, t.high, level, t.units, "bootstrap-bca"
        )
    sums, sizes = cluster_totals(difference, clusters)
    result = stats.bootstrap(
        (sums, sizes.astype(np.float64)),
        lambda s, w, axis: s.sum(axis=axis) / w.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples or _RESAMPLES,
        batch=max(1, _BATCH_ELEMENTS // t.units),
        confidence_level=level,
        method="BCa",
        random_state=np.random.default_rng(seed),
    )
    ends = result.confidence_interval
    return Interval(
        t.estimate,
        t.standard_error,
        float(ends.low),
        float(ends.high),
        level,
        t.units,
        "bootstrap-bca",
    )


def mcnemar_exact(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Exact two-sided McNemar test of 0/1 scores `a` and `b`, each (n,).

    Raises:
        ValueError: A score is neither 0 nor 1.
    """
    difference = _difference(a, b)
    if not is_binary(a) or not is_binary(b):
        raise ValueError("McNemar's test needs scores of 0 and 1 only")
    return mcnemar_from_counts(int(np.sum(difference > 0)), int(np.sum(difference < 0)))


def mcnemar_from_counts(gained: int, lost: int) -> McNemar:
    """McNemar's exact test from the two discordant counts; p = 1 when there are none."""
    discordant = gained + lost
    p = float(stats.binomtest(gained, discordant).pvalue) if discordant else 1.0
    return McNemar(gained, lost, p)


def sign_flip_test(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int | None = None,
) -> tuple[float, bool]:
    """Two-sided p-value of "A and B are exchangeable within every cluster".

    Swapping A and B within a cluster flips the sign of its total difference. Whole-number totals
    (0/1 scores) are treated exactly through the distribution of their signed sum, however many
    there are; without clusters that is McNemar's exact test. Other totals go to SciPy's
    permutation test: exact while all sign patterns fit into `resamples`, sampled beyond, where p
    is never below ``2 / (resamples + 1)``.

    Returns:
        The p-value, and whether it is exact.
    """
    totals, _ = cluster_totals(_difference(a, b), clusters)
    totals = totals[totals != 0.0]
    if len(totals) == 0:
        return 1.0, True
    magnitudes = np.abs(totals)
    if np.all(magnitudes == np.round(magnitudes)):
        exact = _exact_sign_flip(magnitudes.astype(np.int64), abs(float(totals.sum())))
        if exact is not None:
            return exact, True
    resamples = resamples or _RESAMPLES
    result = stats.permutation_test(
        (totals, np.zeros_like(totals)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _BATCH_ELEMENTS // len(totals)),
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue), 2 ** len(totals) <= resamples


def _exact_sign_flip(magnitudes: NDArray[np.int64], observed: float) -> float | None:
    """P(|sum of +-m_c| >= observed) with fair signs; None when the convolution is too long.

    Equal magnitudes m of k clusters contribute m * (2 * Binomial(k, 1/2) - k), so one convolution
    per distinct magnitude suffices. Direct sums keep the relative accuracy of the tails.
    """
    values, counts = np.unique(magnitudes, return_counts=True)
    spans = values * counts
    span = int(spans.sum())
    if int(np.sum(np.cumsum(spans)[:-1] * spans[1:])) > _EXACT_BUDGET:
        return None
    density = np.ones(1)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        # Position s of `density` stands for the signed sum 2 * s - (span so far).
        part = np.zeros(value * count + 1)
        part[::value] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        density = np.convolve(density, part)
    signed = 2 * np.arange(span + 1) - span
    return min(1.0, float(density[np.abs(signed) >= observed].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: valid for any dependence between the tests."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def minimum_detectable_effect(
    standard_error: float,
    level: float = 0.95,
    power: float = 0.8,
    binary_units: int | None = None,
) -> float:
    """Smallest true difference that a sample of this size and noise shows with that `power`.

    ``(z_{1-alpha/2} + z_{power}) * SE`` (Miller 2024, section 5). For 0/1 scores, whose number of
    independent units is then given, never below what the exact test allows: it needs k flips, all
    one way, with ``2 * 0.5^k <= alpha`` (6 at 5 %), and a Poisson number of flips reaches 6 with
    80 % probability from 7.9 expected ones on. That floor matters when hardly anything changed,
    where the standard error says nothing. NaN when there are fewer than k units: then no difference
    at all can show.
    """
    alpha = 1.0 - level
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    if not binary_units:
        return float(z) * standard_error
    # The rounding guards against levels such as 0.875, where the logarithm is a whole number.
    flips = int(np.ceil(np.round(np.log2(2 / alpha), 9)))
    if binary_units < flips:
        return float("nan")
    # P(Poisson(m) >= k) = P(chi-square with 2k degrees of freedom <= 2m).
    expected = float(stats.chi2.ppf(power, 2 * flips)) / 2
    return max(float(z) * standard_error, min(1.0, expected / binary_units))


def is_binary(values: ArrayLike) -> bool:
    """True when every value is 0 or 1."""
    values = np.asarray(values, dtype=np.float64)
    return bool(np.all((values == 0.0) | (values == 1.0)))


def _difference(a: ArrayLike, b: ArrayLike) -> Array:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired scores need two lists of one length, got {a.shape} and {b.shape}")
    return b - a

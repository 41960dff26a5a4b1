"""Paired statistics on per-document scores: pure functions on arrays, no files, no printing.

Notation: ``d_i = b_i - a_i`` is the difference of document i, i = 1..n; documents that share an
image, a sentence or a pair form a *cluster*; G is the number of clusters (G = n without clusters).

Sources: Miller, "Adding Error Bars to Evals" (2024), equations 4 and 7; Cameron and Miller, "A
Practitioner's Guide to Cluster-Robust Inference" (2015), section II.C (the G/(G-1) factor and G-1
degrees of freedom); McNemar (1947); Holm (1979).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lmms_causal.compare.inference.bca import acceleration_of, bca_interval

Array = NDArray[np.float64]

#: Default number of resamples for a mean.
RESAMPLES = 9_999
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
        method: "t" or "bootstrap-bca" (expanded, see `lmms_causal.compare.inference.bca`).
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
    difference = paired_difference(a, b)
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
    """Expanded BCa bootstrap interval of the mean of ``b - a``, drawing whole clusters.

    The statistic is the ratio of the drawn clusters' totals to their sizes, so clusters of unequal
    size keep their weight; its jackknife has a closed form. `lmms_causal.compare.inference.bca`
    says how the interval is widened for small samples. When all clusters have the same mean
    difference the resamples are all equal and so are the ends of the interval.
    """
    difference = paired_difference(a, b)
    t = paired_t_interval(a, b, clusters, level)
    low, high = t.low, t.high
    if t.units >= 2 and t.standard_error > 0.0:
        sums, sizes = cluster_totals(difference, clusters)
        draws = _resampled_means(sums, sizes, resamples or RESAMPLES, np.random.default_rng(seed))
        left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
        low, high = bca_interval(draws, t.estimate, acceleration_of(left_out), level, t.units)
    return dataclasses.replace(t, low=low, high=high, method="bootstrap-bca")


def _resampled_means(
    sums: Array, sizes: NDArray[np.int64], count: int, generator: np.random.Generator
) -> Array:
    """Totals over sizes of `count` resamples of the clusters, (count,).

    Clusters that are alike are drawn together, by how often their kind comes up: 0/1 scores have a
    handful of kinds, so that 100,000 documents cost no more than 100.
    """
    kinds, often = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    units = len(sums)
    draws = np.empty(count)
    if 4 * len(kinds) <= units:
        batch = max(1, _BATCH_ELEMENTS // len(kinds))
        for first in range(0, count, batch):
            last = min(count, first + batch)
            drawn = generator.multinomial(units, often / units, size=last - first) @ kinds
            draws[first:last] = drawn[:, 0] / drawn[:, 1]
        return draws
    batch = max(1, _BATCH_ELEMENTS // units)
    for first in range(0, count, batch):
        last = min(count, first + batch)
        chosen = generator.integers(units, size=(last - first, units))
        draws[first:last] = sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    return draws


def mcnemar_exact(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Exact two-sided McNemar test of 0/1 scores `a` and `b`, each (n,).

    Raises:
        ValueError: A score is neither 0 nor 1.
    """
    difference = paired_difference(a, b)
    if not is_binary(a) or not is_binary(b):
        raise ValueError("McNemar's test needs scores of 0 and 1 only")
    return mcnemar_from_counts(int(np.sum(difference > 0)), int(np.sum(difference < 0)))


def mcnemar_from_counts(gained: int, lost: int) -> McNemar:
    """McNemar's exact test from the two discordant counts; p = 1 when there are none."""
    discordant = gained + lost
    p = float(stats.binomtest(gained, discordant).pvalue) if discordant else 1.0
    return McNemar(gained, lost, p)


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


def too_few_units(units: int, level: float = 0.95) -> bool:
    """Whether no difference can show: of 2^G swaps of A and B by unit two are as extreme as any.

    So that p, of the exact tests here, is at least ``2 * 0.5^G``: more than 5 % below 6 units.
    """
    return 2.0 * 0.5**units > (1.0 - level) * (1.0 + 1e-9)


def is_binary(values: ArrayLike) -> bool:
    """True when every value is 0 or 1."""
    values = np.asarray(values, dtype=np.float64)
    return bool(np.all((values == 0.0) | (values == 1.0)))


def paired_difference(a: ArrayLike, b: ArrayLike) -> Array:
    """``b - a`` of two lists of scores, each (n,).

    Raises:
        ValueError: They are not two lists of one length.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired scores need two lists of one length, got {a.shape} and {b.shape}")
    return b - a

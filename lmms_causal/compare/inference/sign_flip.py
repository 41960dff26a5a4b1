"""The sign-flip test: is a mean paired difference larger than chance swaps of A and B make it?

Under "A and B are exchangeable within every cluster" a cluster's total difference is as likely
negative as positive. Clusters stay whole, so that dependence within them does no harm.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lmms_causal.compare.inference.statistics import (
    RESAMPLES,
    Array,
    cluster_totals,
    paired_difference,
)

#: Largest number of products spent on the exact distribution before sampling it (about a second),
#: and its longest table.
_EXACT_BUDGET, _LONGEST = 1_000_000_000, 10_000_000
#: Signs drawn at once, which bounds the memory to a few tens of megabytes.
_BATCH_SIGNS = 4_000_000
#: Sums nearer than this share of the observed one are the same sum in another order.
_SAME = 1e-12


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
    there are; without clusters that is McNemar's exact test. Other totals are exact while all sign
    patterns fit into `resamples`, and sampled beyond, where the data count as one of the patterns
    and p is never below ``1 / (resamples + 1)``.

    Returns:
        The p-value, and whether it is exact.
    """
    totals, _ = cluster_totals(paired_difference(a, b), clusters)
    totals = totals[totals != 0.0]
    if len(totals) == 0:
        return 1.0, True
    magnitudes = np.abs(totals)
    observed = abs(float(totals.sum()))
    if np.all(magnitudes == np.round(magnitudes)) and magnitudes.max() < 2**53:
        exact = _of_whole_numbers(magnitudes.astype(np.int64), observed)
        if exact is not None:
            return exact, True
    resamples = resamples or RESAMPLES
    if 2 ** min(len(totals), 64) <= resamples:
        return _of_all_patterns(magnitudes, observed), True
    return _sampled(magnitudes, observed, resamples, np.random.default_rng(seed)), False


def _of_whole_numbers(magnitudes: NDArray[np.int64], observed: float) -> float | None:
    """P(|sum of +-m_c| >= observed) with fair signs; None when the convolution is too long.

    Equal magnitudes m of k clusters contribute m * (2 * Binomial(k, 1/2) - k), so one convolution
    per distinct magnitude suffices. Direct sums keep the relative accuracy of the tails.
    """
    unit = int(np.gcd.reduce(magnitudes))
    values, counts = np.unique(magnitudes // unit, return_counts=True)
    spans = [
        value * count for value, count in zip(values.tolist(), counts.tolist(), strict=True)
    ]  # Python's whole numbers, which do not overflow
    products, before = 0, 0
    for span in spans:
        products += before * span
        before += span
    if products > _EXACT_BUDGET or before > _LONGEST:
        return None
    density = np.ones(1)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        # Position s of `density` stands for the signed sum 2 * s - (span so far).
        part = np.zeros(value * count + 1)
        part[::value] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        density = np.convolve(density, part)
    signed = 2 * np.arange(before + 1) - before
    return min(1.0, float(density[np.abs(signed) * unit >= observed].sum()))


def _of_all_patterns(magnitudes: Array, observed: float) -> float:
    sums = np.zeros(1)
    for magnitude in magnitudes:
        sums = np.concatenate([sums - magnitude, sums + magnitude])
    return float(np.mean(_extreme(sums, observed)))


def _sampled(
    magnitudes: Array, observed: float, resamples: int, generator: np.random.Generator
) -> float:
    units = len(magnitudes)
    width = -(-units // 8)  # bytes that hold the signs of one pattern
    batch = max(1, _BATCH_SIGNS // units)
    total = float(magnitudes.sum())
    extreme = 1
    for first in range(0, resamples, batch):
        count = min(batch, resamples - first)
        bits = np.frombuffer(generator.bytes(count * width), dtype=np.uint8).reshape(count, width)
        positive = np.unpackbits(bits, axis=1, count=units)
        extreme += int(np.sum(_extreme(2.0 * (positive @ magnitudes) - total, observed)))
    return extreme / (resamples + 1)


def _extreme(sums: Array, observed: float) -> NDArray[np.bool_]:
    return np.abs(sums) >= observed * (1.0 - _SAME)

"""Random draws that are the same bits on every machine and every NumPy release.

NumPy guarantees the streams of its bit generators and of ``SeedSequence``, but not those of
``Generator`` methods (NEP 19), and a Gaussian drawn in floating point goes through the platform's
``log`` and ``exp``. Everything random in the rendered world therefore comes from raw 64-bit words
by integer arithmetic, Gaussians through a table of quantiles that is rounded far above the last
bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_QUANTILES = 1 << 16
_QUANTILE_UNIT = 1 << 12


class Draws:
    """A stream of draws, fixed by a tuple of non-negative integers.

    >>> Draws(1, 2).below(1000) == Draws(1, 2).below(1000)
    True
    """

    def __init__(self, *entropy: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(entropy))

    def _raw(self) -> int:
        return int(self._bits.random_raw())

    def below(self, limit: int) -> int:
        """An integer in ``0 .. limit - 1`` (bias below ``limit / 2**64``)."""
        return self._raw() * limit >> 64

    def between(self, low: int, high: int) -> int:
        """An integer in ``low .. high``, both included."""
        return low + self.below(high - low + 1)

    def uniform(self) -> float:
        """A number in ``[0, 1)``: 53 random bits over ``2**53``, hence exact."""
        return (self._raw() >> 11) / (1 << 53)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def choice(self, items: Sequence[T]) -> T:
        """One of the items, uniformly."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different items in random order (partial Fisher-Yates shuffle)."""
        pool = list(items)
        for i in range(count):
            j = self.between(i, len(pool) - 1)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in random order."""
        return self.sample(items, len(items))

    def seed(self) -> int:
        """A fresh seed for a sub-stream, in ``0 .. 2**63 - 1``."""
        return self._raw() >> 1

    def normals(self, count: int) -> np.ndarray:
        """Standard normal draws, float64 of shape ``(count,)``, multiples of 1/4096 within 4.4."""
        words = np.asarray(self._bits.random_raw((count + 3) // 4), dtype="<u8")
        return _quantiles()[words.view("<u2")[:count]]


@lru_cache(maxsize=1)
def _quantiles() -> np.ndarray:
    """Mid-point quantiles of the standard normal, float64 of shape ``(65536,)``."""
    inverse = NormalDist().inv_cdf
    half = _QUANTILES // 2
    upper = [round(inverse((half + i + 0.5) / _QUANTILES) * _QUANTILE_UNIT) for i in range(half)]
    upper_half = np.array(upper, dtype=np.float64) / _QUANTILE_UNIT
    return np.concatenate([-upper_half[::-1], upper_half])

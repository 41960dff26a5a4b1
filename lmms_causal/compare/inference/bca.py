"""BCa bootstrap intervals that do not fall short in small samples: pure functions on numbers.

BCa (Efron 1987) takes two quantiles of the bootstrap distribution, at the shares

    Phi(z0 + (z0 + z) / (1 - a (z0 + z)))    for z = -z_{1-alpha/2} and z = +z_{1-alpha/2}

with the bias correction z0 and the acceleration a. With z0 = a = 0 these are the plain percentiles.

Percentiles fall short in small samples, for two reasons: the bootstrap draws from the sample with
its variance *sum of squares over n*, so that its standard error is that of the sample times
``sqrt((n - 1) / n)``; and a normal quantile stands where the error is estimated from n units, which
asks for Student's t. Hesterberg, "What Teachers Should Know About the Bootstrap" (The American
Statistician 69, 2015) puts

    z = sqrt(n / (n - 1)) * t_{1-alpha/2, n-1}

in the normal quantile's place ("expanded percentiles"). We do so inside BCa: the nominal level
enters BCa by z alone, hence the expanded interval is BCa at another level (`expanded_level`), and
its corrections for bias and skewness, which are of order 1/sqrt(n), stay as they are. For the mean
of n independent units without skewness the ends become those of the t interval, since
``sqrt((n-1)/n) s/sqrt(n) * sqrt(n/(n-1)) t = t s/sqrt(n)``. n counts independent units: clusters
where documents are dependent, whose error has the factor G/(G-1) and G - 1 degrees of freedom too.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

#: Draws nearer to the estimate than this share of their spread are the same number summed up in
#: another order.
_SAME = 1e-9


def expanded_level(level: float, units: int) -> float:
    """Level at which plain BCa has the ends of the expanded interval of coverage `level`.

    ``2 Phi(sqrt(n / (n - 1)) t_{(1 + level) / 2, n - 1}) - 1``; 0.95 becomes 0.968 for 20 units,
    0.952 for 200. Always below 1, also where the quantile is beyond double precision (3 units).

    Args:
        level: Nominal coverage.
        units: Number of independent units, at least 2.
    """
    t = float(stats.t.isf((1.0 - level) / 2, units - 1))
    tail = float(stats.norm.sf(math.sqrt(units / (units - 1)) * t))
    return 1.0 - 2.0 * max(tail, float(np.finfo(np.float64).eps))


def bca_interval(
    draws: Array, estimate: float, acceleration: float, level: float, units: int
) -> tuple[float, float]:
    """The ends of the expanded BCa interval.

    Quantiles are those whose expected coverage is their nominal one, the k-th of B draws standing
    for ``k / (B + 1)``: with 399 draws the usual ones would lose half a point of coverage.

    Args:
        draws: Statistic on each resample, (B,).
        estimate: Statistic on the sample.
        acceleration: See `acceleration_of`.
        level: Nominal coverage.
        units: Number of independent units that were drawn.

    Returns:
        Low and high end; NaN when the statistic is undefined on a resample.
    """
    tails = bca_tails(draws, estimate, acceleration, expanded_level(level, units))
    low, high = np.quantile(draws, tails, method="weibull")
    return float(low), float(high)


def bca_tails(
    draws: Array, estimate: float, acceleration: float, level: float
) -> tuple[float, float]:
    """The two shares of the draws that are the ends of Efron's interval, not expanded.

    Those of the plain percentiles where a correction is undefined: all draws on one side of the
    estimate, an undefined acceleration, or one so large that ``a (z0 + z) >= 1``.
    """
    tail = (1.0 - level) / 2
    same = _SAME * float(np.std(draws))
    below = np.mean(draws < estimate - same) + np.mean(np.abs(draws - estimate) <= same) / 2
    bias = float(stats.norm.ppf(below))
    if not math.isfinite(bias + acceleration):
        return tail, 1.0 - tail
    ends = []
    for z in (bias + float(stats.norm.ppf(tail)), bias + float(stats.norm.isf(tail))):
        if acceleration * z >= 1.0:
            return tail, 1.0 - tail
        ends.append(float(stats.norm.cdf(bias + z / (1.0 - acceleration * z))))
    return ends[0], ends[1]


def acceleration_of(left_out: Array) -> float:
    """Acceleration from a jackknife: the statistic without each unit in turn, (n,).

    ``sum(d^3) / (6 sum(d^2)^1.5)`` with d the mean minus the value; for a mean it is the skewness
    over ``6 sqrt(n)``. 0 when nothing varies, NaN when a value is undefined.
    """
    deviations = left_out.mean() - left_out
    spread = float(np.sum(deviations**2))
    return 0.0 if spread == 0.0 else float(np.sum(deviations**3)) / (6.0 * spread**1.5)

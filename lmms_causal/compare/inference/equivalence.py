"""Did no harm, and makes no difference: tests against a margin instead of against zero.

A test that does not reject says nothing about how large a difference may still be. Two one-sided
tests (TOST; Schuirmann 1987) turn the question round: their null hypotheses are that the
difference lies outside the margin, so that rejecting both is evidence of equivalence; the one on
the side of harm alone is the test of non-inferiority. With ``1 - level = alpha`` equivalence is
shown exactly where the interval of coverage ``1 - 2 alpha`` lies inside the margin.

Right-or-wrong scores of independent documents are tested by the score test of Tango (1998), which
keeps its level when few documents change; other means by Student's t with the (clustered) standard
error. A standard error of 0 is no evidence by itself: see `unchanged_floor`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class MarginTest:
    """One-sided p-values of "the difference is at least -margin" and "... at most +margin".

    Attributes:
        margin: The margin, in the unit of the scores.
        method: "tango" or "t".
        not_lower: p-value against a difference of -margin or less.
        not_higher: p-value against a difference of +margin or more.
    """

    margin: float
    method: str
    not_lower: float
    not_higher: float

    @property
    def p(self) -> float:
        """p-value of equivalence: the larger of the two, since both must reject."""
        return max(self.not_lower, self.not_higher)

    def no_harm(self, higher_is_better: bool | None) -> float | None:
        """p-value of "B is worse by less than the margin"; None without a direction."""
        if higher_is_better is None:
            return None
        return self.not_lower if higher_is_better else self.not_higher


def tango_z(gained: int, lost: int, n: int, difference: float) -> float:
    """Score statistic of "the difference of two paired shares is `difference`".

    Tango, Statistics in Medicine 17 (1998) 891, with the discordant probabilities at their maximum
    likelihood under the hypothesis: ``z = (g - l - n D) / sqrt(n (2 q + D (1 - D)))``, where q, the
    probability of a loss, solves ``2n q^2 + ((2n - g + l) D - g - l) q - l D (1 - D) = 0``.

    Args:
        gained: Documents wrong in A and right in B, g.
        lost: Documents right in A and wrong in B, l.
        n: Number of documents.
        difference: D, strictly between -1 and 1.
    """
    if difference < 0.0:  # the solution below is for D >= 0; mirrored data have mirrored answers
        return -tango_z(lost, gained, n, -difference)
    linear = (2 * n - gained + lost) * difference - gained - lost
    constant = -lost * difference * (1.0 - difference)
    loss = (math.sqrt(linear**2 - 8 * n * constant) - linear) / (4 * n)
    variance = n * (2 * loss + difference * (1.0 - difference))
    shift = gained - lost - n * difference
    if variance <= 0.0:  # D = 0 and no document changed
        return 0.0
    return shift / math.sqrt(variance)


def tango_test(gained: int, lost: int, n: int, margin: float) -> MarginTest:
    """Test two paired shares against a margin between 0 and 1 (`tango_z`)."""
    return MarginTest(
        margin,
        "tango",
        not_lower=float(stats.norm.sf(tango_z(gained, lost, n, -margin))),
        not_higher=float(stats.norm.cdf(tango_z(gained, lost, n, margin))),
    )


def t_test(
    estimate: float, standard_error: float, units: int, margin: float, largest: float | None = None
) -> MarginTest | None:
    """Test a mean difference against a margin by Student's t with ``units - 1`` degrees of freedom.

    Args:
        estimate: Mean difference.
        standard_error: Its standard error, clustered where documents are dependent.
        units: Number of independent units.
        margin: Positive margin.
        largest: Largest difference that one document can have (1 for scores from 0 to 1), which
            bounds how sure few units can be; None when scores have no bound.

    Returns:
        None where the data cannot tell: fewer than two units, or no variation in unbounded scores.
    """
    if units < 2 or not math.isfinite(estimate + standard_error):
        return None
    floor = 0.0 if largest is None else unchanged_floor(units, margin / largest)
    if standard_error == 0.0:
        if largest is None:
            return None
        low = high = 0.0
        if estimate <= -margin:
            low = 1.0
        if estimate >= margin:
            high = 1.0
    else:
        low = float(stats.t.sf((estimate + margin) / standard_error, units - 1))
        high = float(stats.t.cdf((estimate - margin) / standard_error, units - 1))
    return MarginTest(margin, "t", max(low, floor), max(high, floor))


def unchanged_floor(units: int, share: float) -> float:
    """Smallest p-value that `units` units allow against a mean difference of `share` of the range.

    A mean difference of D, where no document can differ by more than 1, needs a share D of
    documents that differ; that not one of n does has a probability of at most ``(1 - D)^n``.
    """
    return max(0.0, 1.0 - share) ** units

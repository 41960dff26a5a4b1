"""The statistics against textbook tables and, where it is installed, statsmodels."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from lmms_causal.compare.inference import equivalence, statistics


@pytest.mark.parametrize(
    ("gained", "lost"),
    [
        (1, 7),  # airway reactivity before and after transplantation (Bentur 2009), n = 21
        (58, 16),  # Agresti, Franklin and Klingenberg (2021), example 17 of chapter 10, n = 2000
        (86, 150),  # approval ratings in two surveys, Agresti (1990), page 350, n = 1600
    ],
)
def test_mcnemar_of_textbook_tables(gained: int, lost: int) -> None:
    """The exact conditional test, worked in whole numbers."""
    n, smaller = gained + lost, min(gained, lost)
    exact = Fraction(2 * sum(comb(n, k) for k in range(smaller + 1)), 2**n)
    assert statistics.mcnemar_from_counts(gained, lost).p == pytest.approx(float(exact), rel=1e-10)


def _scores(seed: int, n: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 25, n)
    a = (rng.random(n) < 0.5).astype(float)
    b = np.where(rng.random(n) < 0.3, rng.integers(0, 2, n), a).astype(float)
    return a, b, groups


_REASON = "statsmodels is not installed (pip install statsmodels)"


def test_mcnemar_holm_and_tost_are_those_of_statsmodels() -> None:
    pytest.importorskip("statsmodels", reason=_REASON)
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.weightstats import ttost_paired

    a, b, _ = _scores(0)
    table = [[np.sum((a == x) & (b == y)) for y in (1, 0)] for x in (1, 0)]
    assert statistics.mcnemar_exact(a, b).p == pytest.approx(mcnemar(table).pvalue, rel=1e-10)
    p_values = np.random.default_rng(1).random(12) ** 3
    assert statistics.holm(p_values.tolist()) == pytest.approx(
        multipletests(p_values, method="holm")[1]
    )
    interval = statistics.paired_t_interval(a, b)
    ours = equivalence.t_test(interval.estimate, interval.standard_error, len(a), 0.2)
    theirs, lower, upper = ttost_paired(b, a, -0.2, 0.2)
    assert ours is not None
    assert (ours.p, ours.not_lower, ours.not_higher) == pytest.approx(
        (theirs, lower[1], upper[1]), rel=1e-8
    )


def test_clustered_errors_are_those_of_statsmodels_regression() -> None:
    """A mean is a regression on a constant: same error, same t interval with G - 1 degrees."""
    pytest.importorskip("statsmodels", reason=_REASON)
    import statsmodels.api as sm

    a, b, groups = _scores(2)
    fit = sm.OLS(b - a, np.ones(len(a))).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    ours = statistics.paired_t_interval(a, b, groups.tolist())
    assert ours.standard_error == pytest.approx(float(fit.bse[0]), rel=1e-10)
    assert (ours.low, ours.high) == pytest.approx(tuple(fit.conf_int()[0]), rel=1e-8)

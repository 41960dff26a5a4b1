"""Tests against a margin: Tango's score test, TOST, and what little data cannot show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from lmms_causal.compare.inference import equivalence, statistics


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(40, 20, 160), (1, 7, 21), (0, 1, 44), (5, 0, 30), (0, 0, 50)]
)
def test_the_score_test_inverts_to_the_closed_form_of_tangos_interval(
    gained: int, lost: int, n: int
) -> None:
    """The ends of the 95 % interval are roots of a quartic (Yang, Sun and Hardin 2012)."""
    g, d, s = stats.norm.ppf(0.975) ** 2, gained - lost, gained + lost
    roots = np.roots(
        [
            n**2 * (n / g + 1) ** 2,
            -n * d * (n / g + 1) * (4 * n / g + 1),
            2 * n * d**2 * (3 * n / g + 2) / g - n**2 * (s / g + 1),
            n * d * (2 * s / g + 1) - d**3 * (4 * n / g + 1) / g,
            d**2 * (d**2 / g - s) / g,
        ]
    )
    low, high = min(roots.real), max(roots.real)
    z = math.sqrt(g)
    assert equivalence.tango_z(gained, lost, n, low) == pytest.approx(z, abs=1e-6)
    assert equivalence.tango_z(gained, lost, n, high) == pytest.approx(-z, abs=1e-6)


@pytest.mark.parametrize("difference", [0.02, 0.13, 0.5])
def test_the_score_test_has_the_variance_of_the_constrained_likelihood(difference: float) -> None:
    gained, lost, n = 12, 9, 100

    def loss(q: float) -> float:
        p = q + difference
        likelihood = gained * math.log(p) + lost * math.log(q) + 79 * math.log(1 - p - q)
        return -likelihood

    most = (1 - difference) / 2
    best = optimize.minimize_scalar(
        loss, bounds=(1e-9, most - 1e-9), method="bounded", options={"xatol": 1e-12}
    ).x
    expected = (3 - n * difference) / math.sqrt(n * (2 * best + difference - difference**2))
    assert equivalence.tango_z(gained, lost, n, difference) == pytest.approx(expected, rel=1e-6)


def test_against_no_margin_the_score_is_mcnemars() -> None:
    assert equivalence.tango_z(15, 6, 200, 0.0) == pytest.approx((15 - 6) / math.sqrt(15 + 6))


def test_exchanging_the_runs_exchanges_the_two_sides() -> None:
    one, other = equivalence.tango_test(9, 3, 120, 0.05), equivalence.tango_test(3, 9, 120, 0.05)
    assert (one.not_lower, one.not_higher) == (
        pytest.approx(other.not_higher),
        pytest.approx(other.not_lower),
    )
    assert one.no_harm(True) == one.not_lower and one.no_harm(False) == one.not_higher
    assert one.no_harm(None) is None


def test_tost_by_t_is_scipys_two_one_sided_tests() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=70), rng.normal(0.05, 1.0, size=70)
    interval = statistics.paired_t_interval(a, b)
    ours = equivalence.t_test(interval.estimate, interval.standard_error, 70, 0.4)
    assert ours is not None
    low = stats.ttest_1samp(b - a, -0.4, alternative="greater").pvalue
    high = stats.ttest_1samp(b - a, 0.4, alternative="less").pvalue
    assert (ours.not_lower, ours.not_higher) == pytest.approx((low, high), rel=1e-10)


def test_equivalence_is_shown_exactly_where_the_90_per_cent_interval_is_inside() -> None:
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(200):
        a, b = rng.normal(size=(2, 40))
        clusters = [index // 2 for index in range(40)]
        interval = statistics.paired_t_interval(a, b, clusters, 0.90)
        test = equivalence.t_test(interval.estimate, interval.standard_error, 20, 0.45)
        assert test is not None
        inside = interval.low > -0.45 and interval.high < 0.45
        assert (test.p < 0.05) == inside
        seen.add(inside)
    assert seen == {True, False}


def test_documents_that_do_not_change_show_nothing_while_they_are_few() -> None:
    """Of n documents none changes with probability (1 - m)^n if a share m is to change."""
    few, many = (equivalence.t_test(0.0, 0.0, n, 0.01, 1.0) for n in (100, 300))
    assert few is not None and many is not None
    assert few.p == pytest.approx(0.99**100) and many.p == pytest.approx(0.99**300)
    assert few.p > 0.05 > many.p
    assert equivalence.tango_test(0, 0, 100, 0.01).p > 0.05
    assert equivalence.t_test(0.0, 0.0, 300, 0.01) is None  # scores without a bound
    assert equivalence.t_test(0.0, 0.1, 1, 0.01, 1.0) is None


def test_a_difference_beyond_the_margin_without_variation_is_not_within() -> None:
    test = equivalence.t_test(-0.5, 0.0, 400, 0.1, 1.0)
    assert test is not None
    assert test.p == test.not_lower == 1.0 and test.not_higher == pytest.approx(0.9**400)

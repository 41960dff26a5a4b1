"""Effects of heads on a metric, against SciPy's paired test and known adjustments."""

from __future__ import annotations

import pytest
from scipy import stats

from lmms_causal.errors import UserError
from lmms_causal.interventions.analysis.causal_effect import effects, measured

PLAIN = {"a": 1.0, "b": 0.0, "c": 1.0, "d": 1.0, "e": 0.0}
EDITED = {
    (0, 0): {"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0, "e": 0.0},
    (0, 1): {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 0.0},
    (1, 0): PLAIN,
    (1, 1): {name: value - 1 for name, value in PLAIN.items()},
}


def test_effects_are_paired_and_sorted_by_harm():
    found = effects(PLAIN, EDITED)
    assert [(it.layer, it.head) for it in found] == [(1, 1), (0, 0), (1, 0), (0, 1)]
    worse = found[1]
    edited = [EDITED[0, 0][name] for name in PLAIN]
    test = stats.ttest_rel(edited, list(PLAIN.values()))
    interval = test.confidence_interval(0.95)
    assert worse.mean == pytest.approx(-0.4) and worse.documents == 5
    assert worse.p == pytest.approx(test.pvalue)
    assert (worse.low, worse.high) == pytest.approx((interval.low, interval.high))
    assert (found[2].mean, found[2].p, found[2].low, found[2].high) == (0, 1, 0, 0)
    assert (found[0].mean, found[0].p) == (-1, 0)


def test_the_more_heads_the_less_one_of_them_says():
    found = effects(PLAIN, EDITED)
    values = [it.p for it in found]
    assert [it.q for it in found] == pytest.approx(list(stats.false_discovery_control(values)))
    alone = effects(PLAIN, {(0, 0): EDITED[0, 0]})
    assert alone[0].q == alone[0].p


def test_every_head_is_run_with_its_own_spec():
    asked = []

    def run(spec):
        asked.append(spec)
        return PLAIN if spec is None else EDITED[tuple(map(int, spec.split(".")))]

    found = measured(run, EDITED, lambda layer, head: f"{layer}.{head}")
    assert asked == [None, "0.0", "0.1", "1.0", "1.1"]
    assert found == effects(PLAIN, EDITED)


def test_runs_that_cannot_be_paired_are_refused():
    with pytest.raises(UserError, match=r"head 0\.0 edited has other documents"):
        effects(PLAIN, {(0, 0): {"a": 1.0, "x": 0.0}})
    with pytest.raises(UserError, match="take two or more"):
        effects({"a": 1.0}, {})

"""One unit for a metric in a whole report, and no number that is impossible in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.compare import Options, compare, read_run
from lmms_causal.compare.output.report import to_text
from lmms_causal.compare.output.verdict import verdict
from lmms_causal.compare.reading import aggregations
from lmms_causal.compare.rows.scale import Scale, metric_scale
from lmms_causal.tasks.centerbench.gap import gap

Write = Callable[..., Path]


def test_all_runs_of_a_report_have_one_unit(write_run: Write) -> None:
    """Ratings from 0 to 5, of which two runs happen to have no more than 1."""
    a, b, c = (
        read_run(write_run(name, scores))
        for name, scores in (("a", [0, 1] * 20), ("b", [1, 1] * 20), ("c", [0, 5] * 20))
    )
    assert [it.rows[0].factor for it in compare(a, [b, c])] == [1.0, 1.0]
    assert compare(a, [b])[0].rows[0].factor == 100.0


def test_shares_that_are_averaged_in_per_cent_are_shares(write_run: Write) -> None:
    """As some tasks of lmms-eval do; what is not tested is shown in the same unit."""
    scores = [0, 1, 1, 0] * 10
    a = read_run(write_run("a", scores, aggregate=50.0))
    task = a.tasks["toy_order"]
    assert metric_scale([task], "toy_score") == Scale(100.0, 1.0, 100.0)
    b = read_run(write_run("b", [*scores[:-1], None], aggregate=100 * 20 / 39))
    (row,) = compare(a, [b])[0].rows
    assert row.p is None and (row.a, row.factor) == (0.5, 100.0)


def test_a_gap_in_points_is_no_share_though_it_is_small(
    write_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is answered right, the gap is 0: other answers would make it 100 points."""
    monkeypatch.setattr(aggregations, "offered_aggregation", lambda task, metric: gap)
    run = read_run(write_run("a", [0] * 40))
    samples = tuple(
        dataclasses.replace(
            sample,
            metrics={
                "toy_score": {
                    "sentence": f"{('plausible', 'implausible')[row // 20]}/1/{row % 20}",
                    "credit": 0.0,
                }
            },
        )
        for row, sample in enumerate(run.tasks["toy_order"].samples["none"])
    )
    task = dataclasses.replace(run.tasks["toy_order"], samples={"none": samples})
    assert metric_scale([task], "toy_score").factor == 1.0


def test_few_clusters_have_an_interval_of_possible_differences(write_run: Write) -> None:
    """Three clusters at +-0.5 around 0: Student's t would say +-124 points."""
    clusters = [str(row // 20) for row in range(60)]
    a = read_run(write_run("a", [0, 1] * 30, clusters=clusters))
    b = read_run(write_run("b", [1] * 30 + [0] * 30, clusters=clusters))
    (comparison,) = compare(a, [b])
    (row,) = comparison.rows
    assert (row.units, row.low, row.high, row.detectable) == (3, -1.0, 1.0, None)
    assert row.note == "3 independent units are too few for any difference to show"
    assert row.note in to_text([comparison])
    assert "no possible difference would have been sure to show" in verdict(comparison)


def test_signed_shares_can_differ_by_two(write_run: Write) -> None:
    clusters = [str(row // 20) for row in range(60)]
    a = read_run(write_run("a", [-1, 1] * 30, clusters=clusters))
    b = read_run(write_run("b", [1] * 30 + [-1] * 30, clusters=clusters))
    row = compare(a, [b])[0].rows[0]
    assert (row.largest, row.low, row.high) == (2.0, -2.0, 2.0)


def test_no_effect_beyond_the_range_would_have_shown(write_run: Write) -> None:
    """Seven documents, not all 0 or 1: a difference of 1.06 would be needed, 1 is possible."""
    a = read_run(write_run("a", [0, 1, 0, 1, 0, 1, 0.5]))
    b = read_run(write_run("b", [1, 0, 1, 0, 1, 0, 0.5]))
    (row,) = compare(a, [b])[0].rows
    assert row.standard_error is not None and 2.8 * row.standard_error > 1.0
    assert row.detectable is None
    ratings = [
        read_run(write_run(name, [5 * it for it in scores]))
        for name, scores in (("c", [0, 1, 0, 1, 0, 1, 1]), ("d", [1, 0, 1, 0, 1, 0, 1]))
    ]
    unbounded = compare(ratings[0], ratings[1:])[0].rows[0]
    assert unbounded.largest is None and unbounded.detectable is not None


def test_fewer_than_six_units_cannot_show_anything(write_run: Write) -> None:
    """Also of scores that are not 0 or 1: all of five differences agree in sign with p = 1/16."""
    strata = ["five"] * 5 + ["six"] * 6
    a = read_run(write_run("a", [0.1 * row for row in range(11)], strata=strata))
    b = read_run(write_run("b", [0.09 * row for row in range(11)], strata=strata))
    options = Options(by=("stratum",), family="metric")
    rows = {row.stratum: row for row in compare(a, [b], options)[0].rows}
    assert rows["five"].detectable is None and "5 independent units" in rows["five"].note
    assert rows["six"].detectable is not None and rows["six"].note == ""

"""Axes, the forest plot, charts and their files: what is drawn at all, and where."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmms_causal.compare import Comparison, Options, Row, compare
from lmms_causal.errors import UserError
from lmms_causal.report import write_figures
from lmms_causal.report.charts import cost_charts, sensitivity_charts
from lmms_causal.report.drawing import draw
from lmms_causal.report.forest import panels
from lmms_causal.report.levels import gap_charts
from lmms_causal.report.names import name_runs
from lmms_causal.report.scales import linear, symmetric

NUMBERS = st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-6)


@given(st.lists(NUMBERS, min_size=1, max_size=8))
def test_an_axis_holds_its_values_and_has_round_ticks(values: list[float]) -> None:
    for scale in (linear(values), symmetric(values)):
        assert all(0 <= scale.share(value) <= 1 for value in values)
        assert scale.low <= min(values) and scale.high >= max(values)
        ordered = sorted(values)
        assert [scale.share(v) for v in ordered] == sorted(scale.share(v) for v in values)
        assert 2 <= len(scale.ticks) <= 12
        texts = [scale.tick_text(tick) for tick in scale.ticks]
        assert len(set(texts)) == len(texts)
        read = [float(text.replace("−", "-").replace(",", "")) for text in texts]
        assert read == pytest.approx(scale.ticks, abs=1e-9 * max(1, *map(abs, scale.ticks)))
    assert symmetric(values).share(0.0) == 0.5


def test_points_and_intervals_lie_where_their_numbers_say(comparisons: list[Comparison]) -> None:
    (panel,) = panels(comparisons, name_runs(comparisons))
    gain, same = panel.rows
    # +25 points; t interval of 40 differences of which 12 are 1 and 2 are -1: SE 8.6, to 42.5.
    assert [text for _, text in panel.ticks] == ["−60", "−40", "−20", "0", "+20", "+40", "+60"]
    assert gain.at == pytest.approx(50 + 50 * 25 / 60, abs=1e-3)
    difference = [1.0] * 12 + [-1.0] * 2 + [0.0] * 26
    mean = sum(difference) / 40
    error = math.sqrt(sum((d - mean) ** 2 for d in difference) / 39 / 40)
    half = 100 * 2.0226909 * error  # t, 39 degrees of freedom
    assert gain.low == pytest.approx(50 + 50 * (25 - half) / 60, abs=1e-3)
    assert gain.high == pytest.approx(50 + 50 * (25 + half) / 60, abs=1e-3)
    assert (gain.sign, gain.tone, gain.outcome) == ("▲", "good", "improved")
    assert (same.at, same.sign, same.interval) == (50.0, "●", "no variation")


def test_long_labels_of_an_axis_are_thinned_from_0_on(comparisons: list[Comparison]) -> None:
    row = dataclasses.replace(comparisons[0].rows[0], difference=0.05, low=0.02, high=0.07)
    made = [_shaped(comparisons[0], [row])]
    (panel,) = panels(made, name_runs(made))
    assert [text for _, text in panel.ticks] == ["", "−5.0", "", "0.0", "", "+5.0", ""]
    assert panel.ticks[2][0] == pytest.approx(100 * 5 / 15, abs=1e-3)  # the line stays


def _shaped(comparison: Comparison, rows: list[Row], spec: str = "vcd") -> Comparison:
    b = dataclasses.replace(comparison.b, interventions=spec, path=Path(f"{spec}.json"))
    return dataclasses.replace(comparison, rows=tuple(rows), b=b)


def test_a_strength_that_varies_alone_makes_a_curve(comparisons: list[Comparison]) -> None:
    row = comparisons[0].rows[0]
    made = [
        _shaped(comparisons[0], [dataclasses.replace(row, difference=0.1 * alpha)],
                f"vcd(alpha={alpha};beta=0.1)")
        for alpha in (2.0, 0.5, 1.0)
    ]  # fmt: skip
    made.append(_shaped(comparisons[0], [row], "vcd(alpha=4.0;beta=0.2)"))  # beta differs too
    (chart,) = sensitivity_charts(made, name_runs(made))
    assert [(p.x, round(p.y, 6)) for p in chart.series[0].points] == [(0.5, 5), (1, 10), (2, 20)]
    assert chart.x_label == "alpha of vcd" and chart.rule == 0.0
    assert not sensitivity_charts(made[:2], name_runs(made[:2]))


def test_numbered_metrics_and_strata_make_curves_by_level(comparisons: list[Comparison]) -> None:
    row = comparisons[0].rows[0]
    gaps = [
        dataclasses.replace(row, metric=f"gap_c{level}", a=0.1 * level, b=0.05 * level)
        for level in (1, 2, 3)
    ]
    parts = [dataclasses.replace(row, stratum=str(level)) for level in (10, 9, 8)]
    made = [_shaped(comparisons[0], [row, *parts, *gaps])]
    by_level, gap = gap_charts(made, name_runs(made))
    assert [p.x for p in by_level.series[0].points] == [8, 9, 10]
    reference, other = gap.series
    assert [p.y for p in reference.points] == pytest.approx([10, 20, 30])
    assert [p.y for p in other.points] == pytest.approx([5, 10, 15])
    assert reference.dashed and not other.dashed  # told apart without colour


def test_costs_are_drawn_from_zero_and_labels_do_not_overlap(
    comparisons: list[Comparison],
) -> None:
    seconds, passes = cost_charts(comparisons, name_runs(comparisons))
    assert [(p.key, p.x, p.y) for p in seconds.series[0].points] == [
        ("A", 1.0, 50.0), ("B1", 2.0, 75.0), ("B2", 1.1, 50.0)
    ]  # fmt: skip
    drawing = draw(seconds)
    assert drawing.x_ticks[0][0] == drawing.left and drawing.x_ticks[0][1].startswith("0")
    for mark in drawing.marks:
        assert drawing.left <= mark.x <= drawing.right and drawing.top <= mark.y <= drawing.bottom
    places = [(mark.label_x, mark.label_y) for mark in drawing.marks]
    assert all(
        abs(one[0] - two[0]) >= 20 or abs(one[1] - two[1]) >= 11
        for i, one in enumerate(places)
        for two in places[:i]
    )
    assert passes.x_label == "forward passes per request"


def test_runs_are_named_by_what_tells_them_apart(make_run: Any) -> None:
    acc = {"acc": [1.0, 0.0, 1.0]}
    specs = [
        "",
        "vcd(alpha=1.0;beta=0.1)",
        "vcd(alpha=2.0;beta=0.1)",
        "re2(times=1)",
        "re2(times=1)",
    ]
    runs = [make_run(f"r{i}", acc, interventions=spec) for i, spec in enumerate(specs)]
    runs[4] = dataclasses.replace(runs[4], date="2026-02-02 12:00:00")
    named = name_runs(compare(runs[0], runs[1:], Options()))
    assert [it.key for it in named] == ["A", "B1", "B2", "B3", "B4"]
    assert [it.name for it in named] == [
        "none", "vcd(alpha=1.0)", "vcd(alpha=2.0)",
        "re2, 2026-01-01 12:00:00", "re2, 2026-02-02 12:00:00",
    ]  # fmt: skip
    assert named[1].spec == specs[1]


def test_plots_are_written_as_png_and_svg(comparisons: list[Comparison], tmp_path: Path) -> None:
    files = write_figures(comparisons, tmp_path / "one")
    assert sorted(file.name for file in files) == sorted(
        f"{stem}.{kind}"
        for kind in ("png", "svg")
        for stem in (
            "forest_toy_acc",
            "cost_toy_forward_passes_per_request",
            "cost_toy_time_in_the_model",
        )
    )
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files if file.suffix == ".png")
    svg = (tmp_path / "one" / "forest_toy_acc.svg").read_text()
    assert re.search(r">B1 +vcd<", svg) and "difference to A [points]" in svg
    again = write_figures(comparisons, tmp_path / "two")
    assert [f.read_bytes() for f in again] == [f.read_bytes() for f in files]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--figures .*cannot be written"):
        write_figures(comparisons, tmp_path / "file")

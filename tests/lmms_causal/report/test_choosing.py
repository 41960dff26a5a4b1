"""Charts to choose from: which there are, which are shown at first, which wait in the page."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import Comparison, Options, compare
from lmms_causal.report.browser import Browser, chromium
from lmms_causal.report.charts import cost_charts, sensitivity_charts
from lmms_causal.report.drawing import draw
from lmms_causal.report.gallery import gallery
from lmms_causal.report.labels import Box, place_labels
from lmms_causal.report.levels import gap_charts
from lmms_causal.report.names import name_runs
from lmms_causal.report.page import render, write_page

TWO = {"acc": [1.0, 0.0] * 20, "f1": [0.25, 0.75] * 20}
SELECT = "document.querySelector('#{} select')"
SHOWN = "[...document.querySelectorAll('#{} .charts figcaption')].map(it => it.textContent)"


@pytest.fixture(scope="module")
def two_metrics(make_run: Any) -> list[Comparison]:
    """Three runs with two metrics, whose documents have five levels."""
    levels = {"level": [1, 2, 3, 4, 10] * 8}
    runs = [
        make_run("a", TWO, attributes=levels),
        make_run("b", {"acc": [1.0] * 40, "f1": [0.5] * 40}, interventions="vcd", seconds=2.0,
               attributes=levels),
        make_run("c", {"acc": [0.0] * 40, "f1": [0.5, 0.9] * 20}, interventions="re2", seconds=1.5,
               attributes=levels),
    ]  # fmt: skip
    return compare(runs[0], runs[1:], Options(by=("level",)))


def test_every_tested_metric_can_be_chosen_and_the_first_is_shown(
    two_metrics: list[Comparison],
) -> None:
    runs = name_runs(two_metrics)
    costs, left = gallery(cost_charts(two_metrics, runs))
    assert left == 0
    assert [(it.name, it.first, len(it.drawings)) for it in costs.choices] == [
        ("acc", True, 2), ("f1", False, 2)
    ]  # fmt: skip
    curves, _ = gallery(gap_charts(two_metrics, runs))
    assert [(it.name, it.first, len(it.drawings)) for it in curves.choices] == [
        ("acc by level", True, 2), ("f1 by level", False, 2)
    ]  # fmt: skip
    first, _ = gallery(gap_charts(two_metrics, runs), budget=0)
    assert [it.name for it in first.choices] == ["acc by level"]  # what is shown first stays
    assert gallery(gap_charts(two_metrics, runs), budget=0)[1] == 2


def test_curves_of_one_metric_have_one_scale_and_bars_of_the_difference(
    two_metrics: list[Comparison],
) -> None:
    runs = name_runs(two_metrics)
    first, second = (draw(it) for it in gap_charts(two_metrics, runs) if it.choice[:3] == "acc")
    assert first.y_ticks == second.y_ticks and first.x_ticks == second.x_ticks
    assert [text for _, text in first.x_ticks] == ["1", "2", "3", "4", "10"]  # the levels
    rows = {row.stratum: row for row in two_metrics[0].rows if row.stratum and row.metric == "acc"}
    for point in first.chart.series[1].points:
        row = rows[f"{point.x:g}"]
        assert row.low is not None and row.high is not None
        ends = (None, None) if row.standard_error == 0 else (row.a + row.low, row.a + row.high)
        assert (point.low, point.high) == pytest.approx(
            tuple(None if it is None else 100 * it for it in ends)
        )
    assert any(point.low is not None for point in first.chart.series[1].points)


def _row(comparison: Comparison, **given: Any) -> Comparison:
    """The comparison with rows of our making, each from its first one."""
    rows = [dataclasses.replace(comparison.rows[0], **it) for it in given["rows"]]
    return dataclasses.replace(comparison, rows=tuple(rows))


def test_levels_that_are_no_numbers_make_no_curve(comparisons: list[Comparison]) -> None:
    def curves(*strata: str) -> list[Any]:
        rows = [{}, *({"stratum": it, "by": "hop"} for it in strata)]
        made = [_row(comparisons[0], rows=rows)]
        return gap_charts(made, name_runs(made))

    assert not curves("nan", "inf", "1", "2") and not curves("odd", "even", "1", "2")
    (chart,) = curves("0.5", "1.5", "2.5")
    assert not chart.whole and draw(chart).x_ticks  # halves are no whole numbers


def test_filters_and_fields_do_not_mix_in_one_curve(comparisons: list[Comparison]) -> None:
    rows = [{"metric": f"gap_c{level}", "filter": name} for name in "xy" for level in (1, 2, 3)]
    rows += [{"stratum": str(it), "by": field} for field in ("hop", "depth") for it in (1, 2, 3)]
    made = [_row(comparisons[0], rows=rows)]
    assert [(it.choice, len(it.series[0].points)) for it in gap_charts(made, name_runs(made))] == [
        ("gap_c1 (x) to gap_c3 (x)", 3), ("gap_c1 (y) to gap_c3 (y)", 3),
        ("acc by hop", 3), ("acc by depth", 3),
    ]  # fmt: skip


def test_a_strength_without_a_number_is_not_drawn(make_run: Any) -> None:
    runs = [make_run("a", TWO)] + [
        make_run(f"b{it}", TWO, interventions=f"vcd(alpha={it})")
        for it in ("0.5", "inf", "1.0", "nan", "2.0")
    ]
    made = compare(runs[0], runs[1:], Options())
    charts = sensitivity_charts(made, name_runs(made))
    assert [it.choice for it in charts] == ["acc by alpha of vcd", "f1 by alpha of vcd"]
    assert [p.x for p in charts[0].series[0].points] == [0.5, 1.0, 2.0]


def test_labels_of_runs_with_one_score_lie_on_nothing() -> None:
    points = [(60.0 + 14 * i, 100.0, f"B{i}") for i in range(1, 13)]
    frame = Box(50, 0, 360, 220)
    boxes = [it.box(text) for it, (_, _, text) in zip(
        place_labels(points, [], frame), points, strict=True)]  # fmt: skip
    for index, box in enumerate(boxes):
        assert frame.holds(box)
        assert not any(box.meets(other) for other in boxes[:index])
        assert not any(box.meets(Box(x - 4, y - 4, x + 4, y + 4)) for x, y, _ in points)


def test_a_page_shows_the_first_and_holds_the_others(two_metrics: list[Comparison]) -> None:
    page = render(two_metrics)
    assert len(re.findall(r"<label>[^<]+<select", page)) == page.count("<select")
    section = page[page.index('<section id="cost"') : page.index('<section id="curves"')]
    shown, held = section.split("<template>")
    assert len(re.findall("<figure", shown)) == 2 and len(re.findall("<figure", held)) == 2
    assert "f1 [%] by" in held and "f1 [%] by" not in shown.split("<figure", 1)[1]
    assert re.findall(r"<option[^>]*>[^<]*", shown) == [
        '<option value="0" selected>acc', '<option value="1">f1'
    ]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(chromium() or "") as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no Chromium here (apt-get install chromium)")
def test_the_keyboard_chooses_another_metric(
    browser: Browser, two_metrics: list[Comparison], tmp_path: Path
) -> None:
    write_page(two_metrics, tmp_path / "page.html")
    browser.open(tmp_path / "page.html", 1280, 900)
    for part, first, second in (
        ("cost", "acc [%] by", "f1 [%] by"),
        ("curves", "acc [%] by level", "f1 [%] by level"),
    ):
        browser.until(f"!{SELECT.format(part)}.form.hidden")
        titles = browser.evaluate(SHOWN.format(part))
        assert len(titles) == 2 and all(first in it for it in titles)
        browser.evaluate(f"{SELECT.format(part)}.focus()")
        browser.press("ArrowDown")
        browser.until(f"{SELECT.format(part)}.value === '1'")
        chosen = browser.evaluate(SHOWN.format(part))
        assert len(chosen) == 2 and all(second in it for it in chosen)
        status = f"document.querySelector('#{part} [role=status]').textContent"
        assert browser.evaluate(status) == "2 charts"
        browser.press("ArrowUp")
        browser.until(f"{SELECT.format(part)}.value === '0'")
        assert browser.evaluate(SHOWN.format(part)) == titles
    assert browser.errors == []

"""From a `Chart` in data units to coordinates of an SVG, with labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lmms_causal.report.charts import Chart, Point
from lmms_causal.report.scales import Scale, linear

__all__ = ["Drawing", "Mark", "draw"]

WIDTH, HEIGHT = 360, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 30, 14, 46
_LINE = 12.0
_NEAR = 26.0


@dataclass(frozen=True)
class Mark:
    """A point in the coordinates of the SVG, with the place of its label."""

    x: float
    y: float
    label_x: float
    label_y: float
    point: Point
    low: float | None
    high: float | None
    text: str
    anchor: str = "start"


@dataclass(frozen=True)
class Drawing:
    """What the template needs to draw a chart; all lengths are in user units of the SVG."""

    chart: Chart
    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    rule: float | None
    lines: tuple[tuple[str, bool], ...]
    marks: tuple[Mark, ...]
    description: str


def draw(chart: Chart) -> Drawing:
    """Place a chart's axes, points, intervals and labels."""
    points = [point for series in chart.series for point in series.points]
    xs = [point.x for point in points]
    ys = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    if chart.rule is not None:
        ys.append(chart.rule)
    x_scale, y_scale = linear(xs, 4, chart.x_floor), linear(ys, 5)
    if chart.x_floor is not None:  # from the floor on, so that a ratio is a ratio of lengths
        x_scale = linear([chart.x_floor, *xs], 4, chart.x_floor)
    x_ticks = [t for t in x_scale.ticks if not chart.whole or t == round(t)]
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM

    def x_of(value: float) -> float:
        return round(_LEFT + x_scale.share(value) * (right - _LEFT), 2)

    def y_of(value: float) -> float:
        return round(bottom - y_scale.share(value) * (bottom - _TOP), 2)

    marks = [
        Mark(
            x_of(point.x),
            y_of(point.y),
            x_of(point.x) + 8,
            y_of(point.y) + 4,
            point,
            None if point.low is None else y_of(point.low),
            None if point.high is None else y_of(point.high),
            _text(point, chart, x_scale, y_scale),
        )
        for point in points
    ]
    lines = tuple(
        (" ".join(f"{x_of(p.x)},{y_of(p.y)}" for p in series.points), series.dashed)
        for series in chart.series
        if series.joined
    )
    return Drawing(
        chart,
        WIDTH,
        HEIGHT,
        _LEFT,
        right,
        _TOP,
        bottom,
        tuple((x_of(tick), x_scale.tick_text(tick)) for tick in x_ticks),
        tuple((y_of(tick), y_scale.tick_text(tick)) for tick in y_scale.ticks),
        None if chart.rule is None else y_of(chart.rule),
        lines,
        tuple(_apart(_ends_only(marks, chart), bottom)),
        "; ".join(mark.text for mark in marks),
    )


def _ends_only(marks: list[Mark], chart: Chart) -> list[Mark]:
    """Of curves by level only the last point carries its run's key."""
    if chart.kind != "gap":
        return marks
    last = {mark.point.key: mark for mark in marks}
    return [
        mark if mark is last[mark.point.key] else replace(mark, point=replace(mark.point, key=""))
        for mark in marks
    ]


def _text(point: Point, chart: Chart, x_scale: Scale, y_scale: Scale) -> str:
    y = f"{point.y:.4g}".replace("-", "−")
    interval = (
        ""
        if point.low is None or point.high is None
        else f" ({point.low:.4g} to {point.high:.4g})".replace("-", "−")
    )
    name = f"{point.key}, {point.label}" if point.label else point.key
    return f"{name}: {chart.x_label} {point.x:.4g}, {chart.y_label} {y}{interval}"


def _apart(marks: Sequence[Mark], bottom: float) -> list[Mark]:
    """Move labels until none lies on another label or on another point.

    A label with a point to its right goes to the left of its own; then labels that are near move
    down, a line apart, and a pile that runs over the axis moves up as a whole.
    """
    placed: list[Mark] = []
    for mark in sorted(marks, key=lambda it: it.y):
        if mark.point.key:
            crowded = any(
                0 < it.x - mark.x < _NEAR and abs(it.y - mark.y) < _LINE / 2 for it in marks
            )
            if crowded and mark.x - _NEAR > _LEFT:
                mark = replace(mark, label_x=mark.x - 8, anchor="end")
            y = mark.label_y
            near = [it.label_y for it in placed if it.point.key and _beside(it, mark)]
            while hit := [other for other in near if abs(y - other) < _LINE]:
                y = max(hit) + _LINE
            mark = replace(mark, label_y=y)
        placed.append(mark)
    excess = max((it.label_y for it in placed if it.point.key), default=0.0) - (bottom - 2)
    if excess <= 0:
        return placed
    pile = bottom - 90
    return [replace(it, label_y=it.label_y - excess) if it.label_y > pile else it for it in placed]


def _beside(one: Mark, other: Mark) -> bool:
    """Whether two labels would meet if they were on one line."""

    def begin(mark: Mark) -> float:
        return mark.label_x - (_NEAR if mark.anchor == "end" else 0.0)

    return abs(begin(one) - begin(other)) < _NEAR

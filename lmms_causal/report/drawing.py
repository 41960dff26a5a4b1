"""From a `Chart` in data units to coordinates of an SVG, with labels that do not overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lmms_causal.report.charts import Chart, Point
from lmms_causal.report.labels import Box, place_labels
from lmms_causal.report.scales import Scale, linear

__all__ = ["Drawing", "Mark", "draw"]

WIDTH, HEIGHT = 360, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 30, 14, 46
_NEAREST_TICKS = 18.0
_MOST_TICKS = 12


@dataclass(frozen=True)
class Mark:
    """A point in the coordinates of the SVG, with its label and the place of it.

    Attributes:
        label: The key of its run, or "" where another point of the curve carries it.
        text: What the point says, in words.
    """

    x: float
    y: float
    label: str
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
    ys = [v for p in points for v in (p.y, p.low, p.high) if v is not None] + list(chart.holds)
    if chart.rule is not None:
        ys.append(chart.rule)
    x_scale, y_scale = linear(xs, 4, chart.x_floor), linear(ys, 5)
    if chart.x_floor is not None:  # from the floor on, so that a ratio is a ratio of lengths
        x_scale = linear([chart.x_floor, *xs], 4, chart.x_floor)
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM

    def x_of(value: float) -> float:
        return round(_LEFT + x_scale.share(value) * (right - _LEFT), 2)

    def y_of(value: float) -> float:
        return round(bottom - y_scale.share(value) * (bottom - _TOP), 2)

    x_ticks = _x_ticks(chart, xs, x_scale, x_of)
    frame = Box(_LEFT, 0.0, WIDTH + _RIGHT / 2, bottom - 2)
    marks = _marks(points, chart, x_of, y_of, frame)
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
        tuple(
            (x_of(tick), f"{tick:,.0f}" if chart.whole else x_scale.tick_text(tick))
            for tick in x_ticks
        ),
        tuple((y_of(tick), y_scale.tick_text(tick)) for tick in y_scale.ticks),
        None if chart.rule is None else y_of(chart.rule),
        lines,
        marks,
        "; ".join(mark.text for mark in marks),
    )


def _x_ticks(
    chart: Chart, xs: Sequence[float], scale: Scale, x_of: Callable[[float], float]
) -> list[float]:
    """Round values; of whole numbers the levels themselves, where there is room for all of them."""
    if not chart.whole:
        return list(scale.ticks)
    levels = sorted(set(xs))
    places = [x_of(level) for level in levels]
    gaps = [right - left for left, right in pairwise(places)]
    if len(levels) <= _MOST_TICKS and min(gaps, default=_NEAREST_TICKS) >= _NEAREST_TICKS:
        return levels
    return [tick for tick in scale.ticks if tick == round(tick)]


def _marks(
    points: Sequence[Point],
    chart: Chart,
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
    frame: Box,
) -> tuple[Mark, ...]:
    # Of curves by level only the last point carries its run's key.
    ends = {point.key: index for index, point in enumerate(points)}
    texts = [
        point.key if chart.kind != "gap" or ends[point.key] == index else ""
        for index, point in enumerate(points)
    ]
    places = [(x_of(point.x), y_of(point.y)) for point in points]
    whiskers = [
        (None if point.low is None else y_of(point.low),
         None if point.high is None else y_of(point.high))
        for point in points
    ]  # fmt: skip
    obstacles = [
        Box(x - 4, high, x + 4, low)
        for (x, _), (low, high) in zip(places, whiskers, strict=True)
        if low is not None and high is not None
    ]
    labels = place_labels([(*at, text) for at, text in zip(places, texts, strict=True)],
                          obstacles, frame)  # fmt: skip
    return tuple(
        Mark(*at, text, label.x, label.y, point, *ends_of, _text(point, chart), label.anchor)
        for at, text, label, point, ends_of in zip(
            places, texts, labels, points, whiskers, strict=True
        )
    )


def _text(point: Point, chart: Chart) -> str:
    name = f"{point.key}, {point.label}" if point.label else point.key
    text = f"{name}: {chart.x_label} {point.x:.4g}, {chart.y_label} {point.y:.4g}"
    if point.low is not None and point.high is not None:
        ends = f"{point.low:.4g} to {point.high:.4g}"
        text += f", bar from {ends}" if chart.kind == "gap" else f" ({ends})"
    return text.replace(" -", " −").replace("(-", "(−")

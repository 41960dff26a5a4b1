"""Charts of points and curves as plain numbers, which the template draws and Matplotlib too."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.output.verdict import metric_name, outcome
from lmms_causal.compare.rows.row import Row
from lmms_causal.report.forest import OUTCOMES, Key, tested_rows
from lmms_causal.report.names import ITEM, Named

__all__ = ["FEWEST", "Chart", "Point", "Series", "cost_charts", "first_keys", "sensitivity_charts"]

#: Points that make a curve.
FEWEST = 3
#: Costs that are drawn, by the start of their name, best first.
_COSTS = ("time in the model", "forward passes per request", "peak memory", "judge calls", "wall")
_SHOWN_COSTS = 3


@dataclass(frozen=True)
class Point:
    """A point in data units; `low` and `high` are the ends of its interval, where it has one."""

    x: float
    y: float
    key: str
    label: str
    tone: str = "none"
    sign: str = "●"
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points under one name; `joined` draws a line through them."""

    name: str
    points: tuple[Point, ...]
    joined: bool = True
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        kind: "cost", "sensitivity" or "gap".
        name: Its name as a file name.
        task: The task that it is about.
        choice: What of the task it shows, as the reader chooses it.
        first: True when it is shown before the reader chooses.
        title: What it shows.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        series: What is drawn.
        rule: Where a level line goes: the reference's score, or no difference. None: nowhere.
        rule_label: What is written at its end.
        x_floor: Value below which the horizontal axis does not go, or None.
        whole: True when x takes whole numbers only.
        legend: What lines or the rest of the spec are, in one line.
        holds: Values that the vertical axis holds besides the points', so that charts that belong
            together have one scale.
    """

    kind: str
    name: str
    task: str
    choice: str
    first: bool
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...] = field(default=())
    rule: float | None = None
    rule_label: str = ""
    x_floor: float | None = None
    whole: bool = False
    legend: str = ""
    holds: tuple[float, ...] = field(default=())


def first_keys(rows: Sequence[Key]) -> set[Key]:
    """The first metric of each task."""
    first: dict[str, Key] = {}
    for key in rows:
        first.setdefault(key[0], key)
    return set(first.values())


def cost_charts(comparisons: Sequence[Comparison], runs: Sequence[Named]) -> list[Chart]:
    """Score against cost for every tested metric; costs are of whole runs.

    Runs of which the cost is not known are not drawn; a chart needs two points.
    """
    charts = []
    tested = tested_rows(comparisons)
    first = first_keys(list(tested))
    for key, rows in tested.items():
        reference = next(row for row in rows if row is not None)
        name = metric_name(reference)
        for cost, unit in _costs(comparisons):
            points = _cost_points(cost, comparisons, rows, runs)
            if len(points) < 2 or all(point.key == "A" for point in points):
                continue
            charts.append(
                Chart(
                    "cost",
                    f"cost_{key[0]}_{cost}",
                    key[0],
                    name,
                    key in first,
                    key[0],
                    f"{cost} [{unit}]" if unit else cost,
                    f"{name} [%]" if reference.factor == 100.0 else name,
                    (Series("runs", tuple(points), joined=False),),
                    rule=reference.a * reference.factor,
                    x_floor=0.0,
                )
            )
    return charts


def sensitivity_charts(comparisons: Sequence[Comparison], runs: Sequence[Named]) -> list[Chart]:
    """The difference against a strength, where at least three runs differ in one number only."""
    charts = []
    tested = tested_rows(comparisons)
    first = first_keys(list(tested))
    for (rest, parameter), members in _sweeps(runs).items():
        for key, rows in tested.items():
            found = [(x, index, row) for x, index in sorted(members) if (row := rows[index])]
            if len(found) < FEWEST:
                continue
            unit = " [points]" if found[0][2].factor == 100.0 else ""
            name = metric_name(found[0][2])
            points = tuple(
                _difference_point(x, row, runs[index + 1], comparisons[index].options.level)
                for x, index, row in found
            )
            charts.append(
                Chart(
                    "sensitivity",
                    f"sensitivity_{key[0]}_{parameter}",
                    key[0],
                    f"{name} by {parameter}",
                    key in first,
                    key[0],
                    parameter,
                    f"{name}, difference to A{unit}",
                    (Series(rest, points),),
                    rule=0.0,
                    rule_label="A",
                    legend="" if "+" not in rest else ITEM.sub(r"\g<name>", rest),
                )
            )
    return charts


def _cost_points(
    cost: str, comparisons: Sequence[Comparison], rows: Sequence[Row | None], runs: Sequence[Named]
) -> list[Point]:
    points: list[Point] = []
    for named, comparison, row in zip(runs[1:], comparisons, rows, strict=True):
        line = next((it for it in comparison.costs if it.name == cost), None)
        if row is None or line is None:
            continue
        if line.a is not None and not points:
            points.append(Point(line.a, row.a * row.factor, runs[0].key, runs[0].name))
        if line.b is not None:
            sign, tone, _ = OUTCOMES[outcome(row, comparison.options.level)]
            score = row.b * row.factor
            points.append(Point(line.b, score, named.key, named.name, tone, sign))
    return points


def _difference_point(x: float, row: Row, named: Named, level: float) -> Point:
    sign, tone, _ = OUTCOMES[outcome(row, level)]
    low, high = (None if it is None else it * row.factor for it in (row.low, row.high))
    return Point(x, row.difference * row.factor, named.key, named.name, tone, sign, low, high)


def _costs(comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    known = {cost.name: cost.unit for comparison in comparisons for cost in comparison.costs}
    ranked = [name for start in _COSTS for name in known if name.startswith(start)]
    return [(name, known[name]) for name in ranked[:_SHOWN_COSTS]]


def _sweeps(runs: Sequence[Named]) -> dict[tuple[str, str], list[tuple[float, int]]]:
    """Runs that differ in one number of their spec: (the rest, the parameter) to (value, index)."""
    found: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for index, named in enumerate(runs[1:]):
        spec = named.run.interventions
        for item in ITEM.finditer(spec):
            offset = item.start("arguments")
            for argument in re.finditer(r"(?P<name>\w+)=(?P<value>[^;]*)", item["arguments"]):
                try:
                    value = float(argument["value"])
                except ValueError:
                    continue
                if not math.isfinite(value):
                    continue
                start, end = (offset + place for place in argument.span("value"))
                rest = f"{spec[:start]}…{spec[end:]}"
                title = f"{argument['name']} of {item['name']}"
                found.setdefault((rest, title), []).append((value, index))
    return {
        key: members
        for key, members in found.items()
        if len({value for value, _ in members}) >= FEWEST
    }

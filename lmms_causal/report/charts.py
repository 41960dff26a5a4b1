"""Charts of points and curves as plain numbers, which the template draws and Matplotlib too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.rows import Row
from lmms_causal.compare.verdict import metric_name, outcome
from lmms_causal.report.forest import OUTCOMES, primary_rows
from lmms_causal.report.names import Named

__all__ = ["Chart", "Point", "Series", "cost_charts", "gap_charts", "sensitivity_charts"]

#: Costs that are drawn, by the start of their name, best first.
_COSTS = ("time in the model", "forward passes per request", "peak memory", "judge calls", "wall")
_SHOWN_COSTS = 3
_LEVEL = re.compile(r"^(?P<stem>.+?)_?c?(?P<level>\d+)$")
_ITEM = re.compile(r"(?P<name>[A-Za-z_]\w*)\((?P<arguments>[^()]*)\)")
_FEWEST = 3


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
        title: What it shows.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        series: What is drawn.
        rule: Where a level line goes: the reference's score, or no difference. None: nowhere.
        rule_label: What is written at its end.
        x_floor: Value below which the horizontal axis does not go, or None.
        whole: True when x takes whole numbers only.
        legend: What lines or the rest of the spec are, in one line.
    """

    kind: str
    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...] = field(default=())
    rule: float | None = None
    rule_label: str = ""
    x_floor: float | None = None
    whole: bool = False
    legend: str = ""


def cost_charts(comparisons: Sequence[Comparison], runs: Sequence[Named]) -> list[Chart]:
    """Score against cost, for the first tested metric of each task; costs are of whole runs.

    Runs of which the cost is not known are not drawn; a chart needs two points.
    """
    charts = []
    for task in _tasks(comparisons):
        rows = [primary_rows(comparison).get(task) for comparison in comparisons]
        reference = next(row for row in rows if row is not None)
        for cost, unit in _costs(comparisons):
            points: list[Point] = []
            for named, comparison, row in zip(runs[1:], comparisons, rows, strict=True):
                line = next((it for it in comparison.costs if it.name == cost), None)
                if row is None or line is None or row.metric != reference.metric:
                    continue
                if line.a is not None and not points:
                    points.append(_point(line.a, row, row.a, runs[0], "none", "●"))
                if line.b is not None:
                    sign, tone, _ = OUTCOMES[outcome(row, comparison.options.level)]
                    points.append(_point(line.b, row, row.b, named, tone, sign))
            if len(points) > 1 and any(point.key != "A" for point in points):
                charts.append(
                    Chart(
                        "cost",
                        f"cost_{task}_{cost}",
                        task,
                        f"{cost} [{unit}]" if unit else cost,
                        metric_name(reference) + (" [%]" if reference.factor == 100.0 else ""),
                        (Series("runs", tuple(points), joined=False),),
                        rule=reference.a * reference.factor,
                        x_floor=0.0,
                    )
                )
    return charts


def sensitivity_charts(comparisons: Sequence[Comparison], runs: Sequence[Named]) -> list[Chart]:
    """The difference against a strength, where at least three runs differ in one number only."""
    charts = []
    for title, members in _sweeps(runs).items():
        for task in _tasks(comparisons):
            points = []
            first: Row | None = None
            for value, index in sorted(members):
                row = primary_rows(comparisons[index]).get(task)
                if row is None or (first is not None and row.metric != first.metric):
                    continue
                first = first or row
                sign, tone, _ = OUTCOMES[outcome(row, comparisons[index].options.level)]
                points.append(
                    Point(
                        value,
                        row.difference * row.factor,
                        runs[index + 1].key,
                        runs[index + 1].name,
                        tone,
                        sign,
                        None if row.low is None else row.low * row.factor,
                        None if row.high is None else row.high * row.factor,
                    )
                )
            if first is not None and len(points) >= _FEWEST:
                unit = " [points]" if first.factor == 100.0 else ""
                charts.append(
                    Chart(
                        "sensitivity",
                        f"sensitivity_{task}_{title[1]}",
                        task,
                        title[1],
                        f"{metric_name(first)}, difference to A{unit}",
                        (Series(title[0], tuple(points)),),
                        rule=0.0,
                        rule_label="A",
                        legend="" if "+" not in title[0] else _ITEM.sub(r"\g<name>", title[0]),
                    )
                )
    return charts


def gap_charts(comparisons: Sequence[Comparison], runs: Sequence[Named]) -> list[Chart]:
    """Scores by level, where metrics (``gap_c1``, ``gap_c2``, ...) or strata are numbered."""
    charts = []
    for named, comparison in zip(runs[1:], comparisons, strict=True):
        for (task, stem, of), levels in _levels(comparison).items():
            if len(levels) < _FEWEST:
                continue
            first = levels[0][1]
            series = [
                Series(
                    f"{key} ({name})" if name else key,
                    tuple(
                        Point(x, (row.a if side == 0 else row.b) * row.factor, key, name)
                        for x, row in levels
                    ),
                    dashed=side == 0,
                )
                for side, (key, name) in enumerate(
                    [(runs[0].key, runs[0].name), (named.key, named.name)]
                )
            ]
            charts.append(
                Chart(
                    "gap",
                    f"levels_{task}_{stem}_{named.key}",
                    task,
                    of,
                    stem + (" [%]" if first.factor == 100.0 else ""),
                    tuple(series),
                    rule=0.0 if stem.startswith("gap") else None,
                    whole=True,
                    legend=f"dashed: A ({runs[0].name}); solid: {named.key} ({named.name})",
                )
            )
    return charts


def _tasks(comparisons: Sequence[Comparison]) -> list[str]:
    return list(dict.fromkeys(task for it in comparisons for task in primary_rows(it)))


def _costs(comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    known = {cost.name: cost.unit for comparison in comparisons for cost in comparison.costs}
    ranked = [name for start in _COSTS for name in known if name.startswith(start)]
    return [(name, known[name]) for name in ranked[:_SHOWN_COSTS]]


def _point(cost: float, row: Row, score: float, named: Named, tone: str, sign: str) -> Point:
    return Point(cost, score * row.factor, named.key, named.name, tone, sign)


def _sweeps(runs: Sequence[Named]) -> dict[tuple[str, str], list[tuple[float, int]]]:
    """Runs that differ in one number of their spec: (the rest, the parameter) to (value, index)."""
    found: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for index, named in enumerate(runs[1:]):
        spec = named.run.interventions
        for item in _ITEM.finditer(spec):
            offset = item.start("arguments")
            for argument in re.finditer(r"(?P<name>\w+)=(?P<value>[^;]*)", item["arguments"]):
                try:
                    value = float(argument["value"])
                except ValueError:
                    continue
                start, end = (offset + place for place in argument.span("value"))
                rest = f"{spec[:start]}…{spec[end:]}"
                title = f"{argument['name']} of {item['name']}"
                found.setdefault((rest, title), []).append((value, index))
    return {
        key: members
        for key, members in found.items()
        if len({value for value, _ in members}) >= _FEWEST
    }


def _levels(comparison: Comparison) -> dict[tuple[str, str, str], list[tuple[float, Row]]]:
    """Rows with a number for their level: (task, what, of what) to (level, row), in order."""
    found: dict[tuple[str, str, str], list[tuple[float, Row]]] = {}
    for row in comparison.rows:
        if row.same_as is not None or row.a != row.a or row.b != row.b:
            continue
        if row.stratum is not None:
            try:
                level = float(row.stratum)
            except ValueError:
                continue
            field_name = getattr(row, "by", None) or "level"
            found.setdefault((row.task, metric_name(row), str(field_name)), []).append((level, row))
        elif match := _LEVEL.match(row.metric):
            key = (row.task, match["stem"], "level")
            found.setdefault(key, []).append((float(match["level"]), row))
    return {key: sorted(rows, key=lambda it: it[0]) for key, rows in found.items()}

"""Curves of scores by level: how a run's score, or its gap, goes with the depth of a document."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.output.verdict import metric_name, outcome
from lmms_causal.compare.rows.row import Row
from lmms_causal.report.charts import FEWEST, Chart, Point, Series, first_keys
from lmms_causal.report.forest import OUTCOMES, tested_rows
from lmms_causal.report.names import Named

__all__ = ["gap_charts"]

_NUMBERED = re.compile(r"^(?P<stem>.+?)_?c?(?P<level>\d+)$")
#: Task, what is scored, and by what: a field of ``--by``, or "" for metrics that are numbered.
_Curve = tuple[str, str, str]
_Levels = list[tuple[float, Row]]


def gap_charts(comparisons: Sequence[Comparison], runs: Sequence[Named]) -> list[Chart]:
    """Scores by level, where metrics (``gap_c1``, ``gap_c2``, ...) or strata are numbered.

    A chart for each run, A's curve beside its own; the charts of one metric have one scale. The bar
    at a point of the run is the interval of its difference to A, laid on from A's point: where
    it leaves out the dashed curve, the interval leaves out 0.
    """
    found = [_curves(comparison) for comparison in comparisons]
    tested = tested_rows(comparisons)
    main = {
        (key[0], metric_name(row)) for key in first_keys(list(tested)) for row in tested[key] if row
    }
    numbered = {task for curves in found for task, _, by in curves if not by}
    charts = []
    for curve in dict.fromkeys(curve for curves in found for curve in curves):
        task, what, by = curve
        # Levels that a benchmark counts itself are what it is about.
        first = not by if task in numbered else (task, what) in main
        holds = tuple(_heights(found, curve))
        for named, comparison, curves in zip(runs[1:], comparisons, found, strict=True):
            if curve not in curves:
                continue
            levels = curves[curve]
            charts.append(
                Chart(
                    "gap",
                    f"levels_{task}_{what}_{named.key}",
                    task,
                    f"{what} by {by}" if by else _from_to(levels),
                    first,
                    f"{task}: {named.key} against A" if len(comparisons) > 1 else task,
                    by or "level",
                    what + (" [%]" if levels[0][1].factor == 100.0 else ""),
                    _series(levels, runs[0], named, comparison.options.level),
                    rule=0.0 if what.startswith("gap") else None,
                    whole=all(level == round(level) for level, _ in levels),
                    legend=f"solid: {named.key} ({named.name}); dashed: A ({runs[0].name})",
                    holds=holds,
                )
            )
    return charts


def _series(levels: _Levels, reference: Named, named: Named, level: float) -> tuple[Series, ...]:
    below, above = [], []
    for x, row in levels:
        sign, tone, _ = OUTCOMES[outcome(row, level)]
        below.append(Point(x, row.a * row.factor, reference.key, reference.name))
        ends = _ends(row)
        above.append(Point(x, row.b * row.factor, named.key, named.name, tone, sign, *ends))
    return (
        Series(f"{reference.key} ({reference.name})", tuple(below), dashed=True),
        Series(f"{named.key} ({named.name})", tuple(above)),
    )


def _ends(row: Row) -> tuple[float | None, float | None]:
    """The interval of the difference, from A's score on."""
    if row.low is None or row.high is None or row.standard_error == 0.0:
        return None, None
    return (row.a + row.low) * row.factor, (row.a + row.high) * row.factor


def _from_to(levels: _Levels) -> str:
    return f"{metric_name(levels[0][1])} to {metric_name(levels[-1][1])}"


def _heights(found: Sequence[Mapping[_Curve, _Levels]], curve: _Curve) -> list[float]:
    return [
        value
        for curves in found
        for _, row in curves.get(curve, ())
        for value in (row.a * row.factor, row.b * row.factor, *_ends(row))
        if value is not None and math.isfinite(value)
    ]


def _curves(comparison: Comparison) -> dict[_Curve, _Levels]:
    """Rows with a number for their level, in its order, where there are enough of them."""
    found: dict[_Curve, _Levels] = {}
    for row in comparison.rows:
        if not (math.isfinite(row.a) and math.isfinite(row.b)):
            continue
        if row.stratum is not None:
            level = _number(row.stratum)
            if level is not None:
                found.setdefault((row.task, metric_name(row), row.by or "level"), []).append(
                    (level, row)
                )
        elif match := _NUMBERED.match(row.metric):
            stem = metric_name(row).replace(row.metric, match["stem"], 1)
            found.setdefault((row.task, stem, ""), []).append((float(match["level"]), row))
    return {
        key: sorted(levels, key=lambda it: it[0])
        for key, levels in found.items()
        # A curve that repeats others point by point is left out; one that shares some is whole.
        if len(levels) >= FEWEST and any(row.same_as is None for _, row in levels)
    }


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None

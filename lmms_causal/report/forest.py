"""The forest plot: differences with their intervals, one panel for each metric of each task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.output.verdict import interval_text, metric_name, number, outcome, p_text
from lmms_causal.compare.rows.row import Row
from lmms_causal.report.names import Named
from lmms_causal.report.scales import Scale, symmetric

__all__ = ["OUTCOMES", "ForestRow", "Panel", "Parts", "panels", "tested_rows"]

#: Task, metric and answer filter.
Key = tuple[str, str, str]
_Found = tuple[Named, Row]

#: Characters of an axis's labels that have room on it.
_LONGEST_AXIS = 22
#: How an outcome is shown: a sign that does not need colour, the class of its colour, its words.
OUTCOMES = {
    "improved": ("▲", "good", "improved"),
    "worse": ("▼", "bad", "worse"),
    "higher": ("▲", "plain", "higher"),
    "lower": ("▼", "plain", "lower"),
    "no difference": ("●", "none", "no detectable difference"),
    "untested": ("–", "none", "not tested"),
}


@dataclass(frozen=True)
class ForestRow:
    """One line of the plot.

    Attributes:
        named: The run compared with the reference.
        n: Paired documents, as text.
        row: Its numbers.
        sign: A character that stands for the outcome.
        tone: Class of its colour: "good", "bad", "plain", "none".
        outcome: The outcome in words.
        at: Where the difference lies on the axis, in per cent of its width; None if unknown.
        low: Where the interval begins; None without one.
        high: Where it ends.
        a, b, difference, interval, p, flips: Numbers as text.
        harm: What the equivalence test says, or "".
    """

    named: Named
    row: Row
    n: str
    sign: str
    tone: str
    outcome: str
    at: float | None
    low: float | None
    high: float | None
    a: str
    b: str
    difference: str
    interval: str
    p: str
    flips: str
    harm: str


@dataclass(frozen=True)
class Parts:
    """A metric on parts of the documents.

    Attributes:
        field: The recorded field that makes the parts.
        values: (value of the field, its lines, one a run).
        ticks: (where in per cent, label).
    """

    field: str
    values: tuple[tuple[str, tuple[ForestRow, ...]], ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Panel:
    """One metric of one task for all runs.

    Attributes:
        task: Task name.
        metric: Metric name, with its filter where there are several.
        about: Documents, unit and direction in one line.
        primary: True for the task's first tested metric over all documents.
        adjusted: True when p is after Holm's correction.
        rows: Lines over all documents, one a run.
        strata: The same metric on parts of the documents, by field of ``--by``.
        ticks: (where in per cent, label).
        margin: Where the band of the equivalence margin lies, (begin, end), or None.
        notes: Remarks on single rows.
    """

    task: str
    metric: str
    about: str
    primary: bool
    adjusted: bool
    rows: tuple[ForestRow, ...]
    strata: tuple[Parts, ...]
    ticks: tuple[tuple[float, str], ...]
    margin: tuple[float, float] | None
    notes: tuple[str, ...]


def panels(comparisons: Sequence[Comparison], runs: Sequence[Named]) -> list[Panel]:
    """One panel for each metric of each task, tasks and metrics in the order of the rows.

    Metrics that repeat the scores of another one are left out. Of shares, the first metrics of all
    tasks share one axis, and so do their parts, so that they can be compared by eye.
    """
    grouped: dict[Key, list[_Found]] = {}
    for named, comparison in zip(runs[1:], comparisons, strict=True):
        twins = {row.key for row in comparison.rows if row.stratum is None and row.same_as}
        for row in comparison.rows:
            # A metric of one level has nothing to say on the others.
            empty = row.stratum is not None and not (math.isfinite(row.a) or math.isfinite(row.b))
            if row.key not in twins and not empty:
                grouped.setdefault(row.key, []).append((named, row))
    first = _first_metrics(grouped)
    shares = [
        it for key, found in grouped.items() if key in first for it in found if it[1].factor == 100
    ]
    whole = _axis([it for it in shares if it[1].stratum is None])
    part = _axis([it for it in shares if it[1].stratum is not None])
    level = comparisons[0].options.level
    return [
        _panel(found, level, key in first, (whole, part))
        for key, found in grouped.items()
        if any(math.isfinite(row.a) and math.isfinite(row.b) for _, row in found)
    ]


def tested_rows(comparisons: Sequence[Comparison]) -> dict[Key, list[Row | None]]:
    """Rows over all documents of each tested metric, one a comparison, in the order of the rows.

    A row is None where a comparison lacks the metric or one of its scores is unknown. The first
    key of a task is its first metric.
    """
    found: dict[Key, list[Row | None]] = {}
    tested: set[Key] = set()
    for index, comparison in enumerate(comparisons):
        for row in comparison.rows:
            if row.stratum is not None:
                continue
            key = row.key
            rows = found.setdefault(key, [None] * len(comparisons))
            if math.isfinite(row.a) and math.isfinite(row.b):
                rows[index] = row
            if row.p is not None and row.same_as is None:
                tested.add(key)
    return {key: rows for key, rows in found.items() if key in tested and any(rows)}


def _first_metrics(grouped: Mapping[Key, Sequence[_Found]]) -> set[Key]:
    first: dict[str, Key] = {}
    for key, found in grouped.items():
        if any(row.p is not None and row.stratum is None for _, row in found):
            first.setdefault(key[0], key)
    return set(first.values())


def _reach(row: Row) -> Iterable[float]:
    margin = None if row.equivalence is None else row.equivalence.margin
    for value in (row.difference, row.low, row.high, margin):
        if value is not None and math.isfinite(value):
            yield value * row.factor


def _axis(found: Sequence[_Found]) -> Scale:
    return symmetric((value for _, row in found for value in _reach(row)), 6)


def _panel(
    found: Sequence[_Found], level: float, primary: bool, shared: tuple[Scale, Scale]
) -> Panel:
    first = found[0][1]
    overall = [it for it in found if it[1].stratum is None]
    parts = [it for it in found if it[1].stratum is not None]
    whole, part = shared if primary and first.factor == 100.0 else (_axis(overall), _axis(parts))
    counts = sorted({row.n for _, row in overall if row.n})
    about = [
        f"{'–'.join(f'{n:,}' for n in dict.fromkeys((counts[0], counts[-1])))} documents"
        if counts
        else "",
        "per cent, differences in points" if first.factor == 100.0 else "",
        {True: "higher is better", False: "lower is better", None: ""}[first.higher_is_better],
    ]
    margin = None if first.equivalence is None else first.equivalence.margin
    return Panel(
        task=first.task,
        metric=metric_name(first),
        about="; ".join(text for text in about if text),
        primary=primary,
        adjusted=any(row.p_holm is not None for _, row in found),
        rows=tuple(_line(named, row, level, whole) for named, row in overall),
        strata=_parts(parts, level, part),
        ticks=_ticks(whole),
        margin=None
        if not margin
        else (_per_cent(whole, -margin * first.factor), _per_cent(whole, margin * first.factor)),
        notes=tuple(dict.fromkeys(row.note for _, row in overall if row.note)),
    )


def _parts(found: Sequence[_Found], level: float, scale: Scale) -> tuple[Parts, ...]:
    fields: dict[str, dict[str, list[ForestRow]]] = {}
    for named, row in found:
        lines = fields.setdefault(row.by or "part", {})
        lines.setdefault(str(row.stratum), []).append(_line(named, row, level, scale))
    return tuple(
        Parts(
            name,
            tuple((value, tuple(lines)) for value, lines in values.items()),
            _ticks(scale),
        )
        for name, values in fields.items()
    )


def _ticks(scale: Scale) -> tuple[tuple[float, str], ...]:
    """Ticks with their labels; where these are long, every second one, counted from 0."""
    texts = [scale.tick_text(tick, sign=True) for tick in scale.ticks]
    step = 2 if sum(map(len, texts)) > _LONGEST_AXIS else 1
    middle = len(texts) // 2
    return tuple(
        (_per_cent(scale, tick), text if (place - middle) % step == 0 else "")
        for place, (tick, text) in enumerate(zip(scale.ticks, texts, strict=True))
    )


def _line(named: Named, row: Row, level: float, scale: Scale) -> ForestRow:
    sign, tone, words = OUTCOMES[outcome(row, level)]
    at, low, high = (
        None if value is None or not math.isfinite(value) else _per_cent(scale, value * row.factor)
        for value in (row.difference, row.low, row.high)
    )
    return ForestRow(
        named=named,
        row=row,
        n=f"{row.n:,}" if row.n else "",
        sign=sign,
        tone=tone,
        outcome=words,
        at=at,
        low=low,
        high=high,
        a=_minus(number(row, row.a)),
        b=_minus(number(row, row.b)),
        difference=_minus(number(row, row.difference, "+")),
        interval=_minus(interval_text(row)),
        p=_minus(p_text(row.p if row.p_holm is None else row.p_holm)),
        flips="–" if row.gained is None else f"+{row.gained} / −{row.lost}",
        harm=_harm(row),
    )


def _harm(row: Row) -> str:
    found = row.equivalence
    if found is None:
        return ""
    margin = number(row, found.margin)
    if found.equivalent:
        return f"equivalent within ±{margin}"
    if found.no_harm:
        return f"no loss beyond {margin}"
    return f"loss > {margin} not excluded" if found.no_harm is not None else ""


def _per_cent(scale: Scale, value: float) -> float:
    return round(100.0 * scale.share(value), 3)


def _minus(text: str) -> str:
    """A true minus sign, which is as wide as the plus; a lone dash stays one."""
    return (
        "–" if text == "-" else text.replace("-", "−") if any(c.isdigit() for c in text) else text
    )

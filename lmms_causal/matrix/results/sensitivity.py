"""Sensitivity curves: an intervention's score along one of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from lmms_causal.compare import Comparison, Run
from lmms_causal.compare.output.verdict import interval_text, metric_name, number, p_text
from lmms_causal.compare.rows.row import Row
from lmms_causal.matrix.planning.cells import Cell
from lmms_causal.matrix.results.sections import Section

__all__ = ["curve_sections", "curves"]


def curves(
    cells: Sequence[Cell], runs: dict[str, Run], compared: dict[str, Comparison]
) -> list[dict[str, Any]]:
    """Return the sensitivity curves of one model, for every task, metric and filter.

    Each is ``{model, intervention, parameter, control, task, metric, filter, points}`` and each
    point ``{value, label, spec, score}``, with ``difference``, ``low``, ``high``, ``p_holm`` and
    ``n`` against the reference where that was compared (null where not).
    """
    grouped: dict[tuple[str, str, int | None], list[Cell]] = {}
    for cell in {cell.variant.label: cell for cell in cells}.values():
        if (curve := cell.variant.curve) is not None:
            control = None
            if cell.variant.control_of is not None:
                control = int(cell.variant.label.rpartition("+control")[2])
            grouped.setdefault((curve.of, curve.parameter, control), []).append(cell)
    found = []
    for (of, parameter, control), members in grouped.items():
        first = runs[members[0].variant.label]
        for task in first.tasks.values():
            for metric, name in task.aggregates:
                points = [_point(cell, runs, compared, task.name, metric, name) for cell in members]
                found.append(
                    {
                        "model": members[0].model.name,
                        "intervention": of,
                        "parameter": parameter,
                        "control": control,
                        "task": task.name,
                        "metric": metric,
                        "filter": name,
                        "points": points,
                    }
                )
    return found


def _point(
    cell: Cell,
    runs: dict[str, Run],
    compared: dict[str, Comparison],
    task: str,
    metric: str,
    name: str,
) -> dict[str, Any]:
    label = cell.variant.label
    assert cell.variant.curve is not None
    known = runs[label].tasks.get(task)
    rows = [
        row
        for row in (compared[label].rows if label in compared else ())
        if (row.task, row.metric, row.filter, row.stratum) == (task, metric, name, None)
    ]
    fields = ("difference", "low", "high", "p_holm", "n")
    return {
        "value": cell.variant.curve.value,
        "label": label,
        "spec": cell.variant.spec,
        "score": None if known is None else known.aggregates.get((metric, name)),
        **{field: getattr(rows[0], field) if rows else None for field in fields},
    }


def curve_sections(
    cells: Sequence[Cell],
    runs: dict[str, Run],
    compared: dict[str, Comparison],
    reference: str,
    level: float,
) -> Iterator[Section]:
    """Yield a table for every curve of one model: its tested metrics at each value.

    A metric that has one score at every value, without a document that differs, takes one line.
    Controls stand beside the point that they control, by their mean over seeds.
    """
    grouped: dict[tuple[str, str], list[Cell]] = {}
    controls: dict[str, list[str]] = {}
    for cell in {cell.variant.label: cell for cell in cells}.values():
        variant = cell.variant
        if variant.control_of is not None:
            controls.setdefault(variant.control_of, []).append(variant.label)
        elif (curve := variant.curve) is not None:
            grouped.setdefault((curve.of, curve.parameter), []).append(cell)
    for (of, parameter), members in grouped.items():
        head = [parameter, "value", "score", "B-A", f"{100 * level:g} % CI", "p Holm"]
        if any(cell.variant.label in controls for cell in members):
            head.append("control-A")
        lines: list[list[str]] = []
        task = None
        for row in _metrics(members, compared):
            if row.task != task:
                task = row.task
                lines.append([task])
            block = [_line(cell, row, runs, compared, controls, len(head)) for cell in members]
            alike = len({tuple(line[2:6]) for line in block}) == 1 and "no variation" in block[0]
            if alike and {cell for line in block for cell in line[6:]} <= {"-", "+0.0", "+0"}:
                block = [["", "all", *block[-1][2:]]]
            block[0][0] = metric_name(row)
            lines += block
        note = f"A: {reference}. B: {of} with {parameter} as given."
        if "control-A" in head:
            note += " control-A: noise of B's size instead of B, mean over its seeds."
        yield Section(f"Sensitivity of {of}, model {members[0].model.name}", head, lines, note)


def _metrics(members: Sequence[Cell], compared: dict[str, Comparison]) -> list[Row]:
    """A row for each metric that was tested at any value, in the order of the comparisons."""
    found: dict[tuple[str, str, str], Row] = {}
    for cell in members:
        if cell.variant.label in compared:
            for row in compared[cell.variant.label].rows:
                if row.stratum is None and row.p is not None and row.same_as is None:
                    found.setdefault(row.key, row)
    order = list(dict.fromkeys(key[0] for key in found))
    return sorted(found.values(), key=lambda row: order.index(row.task))


def _line(
    cell: Cell,
    like: Row,
    runs: dict[str, Run],
    compared: dict[str, Comparison],
    controls: dict[str, list[str]],
    columns: int,
) -> list[str]:
    """The cells of one point; of the reference itself there is a score only."""
    label = cell.variant.label
    assert cell.variant.curve is not None
    row = _same(like, compared.get(label))
    if row is None:
        task = runs[label].tasks.get(like.task)
        score = None if task is None else task.aggregates.get((like.metric, like.filter))
        shown = ["-" if score is None else number(like, score), "-", "-", "-"]
    else:
        p = row.p if row.p_holm is None else row.p_holm
        shown = [
            number(row, row.b),
            number(row, row.difference, "+"),
            interval_text(row),
            p_text(p),
        ]
    line = ["", cell.variant.curve.value, *shown]
    if columns > len(line):
        rows = [_same(like, compared.get(it)) for it in controls.get(label, ())]
        known = [it.difference for it in rows if it is not None]
        line.append(number(like, fmean(known), "+") if known else "-")
    return line


def _same(like: Row, comparison: Comparison | None) -> Row | None:
    """The row of a comparison about the same task, metric and filter, over all documents."""
    rows = () if comparison is None else comparison.rows
    key = (like.task, like.metric, like.filter)
    found = (r for r in rows if (r.task, r.metric, r.filter) == key and r.stratum is None)
    return next(found, None)

"""The comparison as plain text of at most 100 columns, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.records import Run
from lmms_causal.compare.rows import Row
from lmms_causal.compare.verdict import interval_text, metric_name, number, outcome, p_text, verdict

#: Raised by one whenever a field of the JSON output changes its meaning or goes away.
SCHEMA_VERSION = 1

_COLUMNS = 100
_HEADER = ("metric", "n", "A", "B", "B-A", "{level:g} % CI", "McNemar", "p", "+/-")
_WIDTHS = (25, 6, 6, 6, 6, 16, 7, 7, 12)


def to_text(comparisons: Sequence[Comparison]) -> str:
    """The report for a terminal: identities, table, remarks, cost and verdict of each B."""
    return "\n\n".join(_one_text(comparison) for comparison in comparisons) + "\n"


def to_markdown(comparisons: Sequence[Comparison]) -> str:
    """The same report as GitHub-flavoured Markdown."""
    return "\n".join(_one_markdown(comparison) for comparison in comparisons)


def to_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The report as JSON-ready data: unrounded numbers, null where something is unknown."""
    return {
        "schema_version": SCHEMA_VERSION,
        "comparisons": [_json(_one_json(comparison)) for comparison in comparisons],
    }


def _one_text(comparison: Comparison) -> str:
    lines = [*_identity("A", comparison.a), *_identity("B", comparison.b), ""]
    header = _header(comparison)
    lines += [_table_line(header), "-" * len(_table_line(header))]
    for cells in _body(comparison):
        lines += _table_lines(cells)
    lines.append("")
    for text in _legend(comparison):
        lines += _wrap(text)
    if comparison.costs:
        lines += ["", f"{'cost':34}{'A':>14}{'B':>14}{'B/A':>10}"]
        lines += [
            f"{name:34}{left:>14}{right:>14}{ratio:>10}"
            for name, left, right, ratio in _cost_cells(comparison)
        ]
    warnings = _warnings(comparison)
    if warnings:
        lines.append("")
        for text in warnings:
            lines += _wrap(f"warning: {text}")
    lines += ["", *_wrap(f"Verdict: {verdict(comparison)}")]
    return "\n".join(lines)


def _one_markdown(comparison: Comparison) -> str:
    lines = ["| run | interventions | model | harness | date |", "|---|---|---|---|---|"]
    for label, run in (("A", comparison.a), ("B", comparison.b)):
        harness = f"{run.harness} {run.harness_version or ''}".strip()
        identity = (label, f"`{run.interventions or 'none'}`", f"`{_model(run)}`", harness)
        lines.append(_markdown_line([*identity, run.date]))
    header = _header(comparison)
    lines += ["", _markdown_line(header), "|---|" + "---:|" * (len(header) - 1)]
    for cells in _body(comparison):
        if len(cells) == 1:
            lines.append(_markdown_line([f"**{cells[0]}**", *[""] * (len(header) - 1)]))
        else:
            lines.append(_markdown_line([cell.strip() for cell in cells]))
    lines += ["", *_legend(comparison)]
    if comparison.costs:
        lines += ["", "| cost | A | B | B/A |", "|---|---:|---:|---:|"]
        lines += [_markdown_line(cells) for cells in _cost_cells(comparison)]
    lines += ["", *[f"* Warning: {text}" for text in _warnings(comparison)]]
    lines += ["", f"**Verdict:** {verdict(comparison)}", ""]
    return "\n".join(lines)


def _one_json(comparison: Comparison) -> dict[str, Any]:
    level = comparison.options.level
    return {
        "a": _run_json(comparison.a),
        "b": _run_json(comparison.b),
        "options": dataclasses.asdict(comparison.options),
        "rows": [
            dataclasses.asdict(row) | {"outcome": outcome(row, level)} for row in comparison.rows
        ],
        "costs": [dataclasses.asdict(cost) for cost in comparison.costs],
        "differences": [dataclasses.asdict(found) for found in comparison.differences],
        "notes": list(comparison.notes),
        "verdict": verdict(comparison),
    }


def _run_json(run: Run) -> dict[str, Any]:
    fields = dataclasses.asdict(dataclasses.replace(run, tasks={}))
    fields["tasks"] = {name: task.version for name, task in run.tasks.items()}
    return fields


def _json(value: Any) -> Any:
    """Make data strict JSON: NaN and infinity become null, paths text."""
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _model(run: Run) -> str:
    arguments = ",".join(f"{key}={value}" for key, value in run.model_args.items())
    return f"{run.model} {arguments}".strip()


def _identity(label: str, run: Run) -> list[str]:
    version = f" (lmms-causal {run.causal_version})" if run.causal_version else ""
    text = (
        f"interventions: {run.interventions or 'none'}\n{_model(run)}\n"
        f"{run.harness} {run.harness_version or '(version not recorded)'}{version}, {run.date}, "
        f"{run.path}"
    )
    lines = []
    for line in text.splitlines():
        lines += textwrap.wrap(line, _COLUMNS - 3, break_on_hyphens=False) or [""]
    return [f"{label if index == 0 else ' '}  {line}" for index, line in enumerate(lines)]


def _header(comparison: Comparison) -> list[str]:
    header = [cell.format(level=100 * comparison.options.level) for cell in _HEADER]
    if _tests(comparison) > 1:
        header[7] = "p Holm"
    return header


def _tests(comparison: Comparison) -> int:
    return sum(row.p is not None and row.same_as is None for row in comparison.rows)


def _body(comparison: Comparison) -> list[Sequence[str]]:
    """Table cells; a task's heading is a line of one cell."""
    lines: list[Sequence[str]] = []
    task = None
    for row in comparison.rows:
        if row.task != task:
            task = row.task
            lines.append([_heading(comparison, task)])
        lines.append(_cells(row))
    return lines


def _heading(comparison: Comparison, task: str) -> str:
    units: dict[str, int] = {}
    for row in comparison.rows:
        if row.task == task and row.cluster_key is not None and row.stratum is None:
            units[row.cluster_key] = max(row.units, units.get(row.cluster_key, 0))
    clusters = ", ".join(f"{count} clusters by {key}" for key, count in units.items())
    return f"{task} ({clusters})" if clusters else task


def _cells(row: Row) -> list[str]:
    name = f"  {metric_name(row)}" if row.stratum is None else f"    {row.stratum}"
    return [
        name,
        str(row.n) if row.n else "-",
        number(row, row.a),
        number(row, row.b),
        number(row, row.difference, "+"),
        interval_text(row),
        p_text(row.mcnemar_p),
        p_text(row.p if row.p_holm is None else row.p_holm),
        "-" if row.gained is None else f"+{row.gained}/-{row.lost}",
    ]


def _table_lines(cells: Sequence[str]) -> list[str]:
    """One line, or two when the name needs a line of its own."""
    if len(cells) == 1 or len(cells[0]) <= _WIDTHS[0]:
        return [_table_line(cells)]
    return [cells[0], _table_line(["", *cells[1:]])]


def _table_line(cells: Sequence[str]) -> str:
    rest = "".join(f" {cell:>{width}}" for cell, width in zip(cells[1:], _WIDTHS[1:], strict=False))
    return f"{cells[0]:{_WIDTHS[0]}}{rest}".rstrip()


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _legend(comparison: Comparison) -> list[str]:
    """What the columns mean, as far as this table needs it, and the remarks of single rows."""
    rows = comparison.rows
    lines = []
    if any(row.factor == 100.0 for row in rows):
        lines.append("Shares are in per cent, their differences in points.")
    if any(row.cluster_key is not None and row.p is not None for row in rows):
        lines.append(
            "Intervals and p allow for dependent documents within a cluster; the McNemar column "
            "does not."
        )
    overall = [row for row in rows if row.stratum is None]
    sampled = [row for row in overall if row.test == "swap-sampled"]
    if sampled:
        lines.append(f"Not means over documents, so resampled by cluster: {_names(sampled, rows)}.")
    twins = [row for row in overall if row.same_as is not None]
    if twins:
        lines.append(
            f"The same scores under another name, counted as one test: {_names(twins, rows)}."
        )
    by_note: dict[str, list[Row]] = {}
    for row in overall:
        if row.note:
            by_note.setdefault(row.note, []).append(row)
    lines += [f"{_names(noted, rows)}: {note}." for note, noted in by_note.items()]
    return lines


def _names(some: Sequence[Row], rows: Sequence[Row]) -> str:
    """Name rows by task; a task that is meant as a whole is not spelled out."""
    names = []
    for task in dict.fromkeys(row.task for row in some):
        metrics = [metric_name(row) for row in some if row.task == task]
        whole = sum(row.task == task and row.stratum is None for row in rows)
        names.append(task if len(metrics) == whole else f"{', '.join(metrics)} of {task}")
    return "; ".join(names)


def _warnings(comparison: Comparison) -> list[str]:
    warnings = [
        f"the runs differ in {'' if found.serious else '(should not matter) '}{found}"
        for found in comparison.differences
    ]
    warnings += comparison.notes
    tests = _tests(comparison)
    if tests > 1:
        warnings.append(
            f"{tests} rows are tested: the p column is adjusted for all rows of this report by "
            "Holm's method"
        )
    return warnings


def _cost_cells(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    return [
        (
            f"{cost.name} [{cost.unit}]" if cost.unit else cost.name,
            _quantity(cost.a),
            _quantity(cost.b),
            "-" if cost.ratio is None else f"{cost.ratio:.2f}x",
        )
        for cost in comparison.costs
    ]


def _quantity(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, subsequent_indent="  ", break_on_hyphens=False)

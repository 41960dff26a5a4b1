"""The comparison as plain text of at most 100 columns and as Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.output.json_report import SCHEMA_VERSION, to_json
from lmms_causal.compare.output.latex import to_latex
from lmms_causal.compare.output.tables import (
    Cells,
    agreement_body,
    agreement_header,
    body,
    cost_body,
    flip_lines,
    header,
    legend,
    model_text,
    summary,
    warnings,
)
from lmms_causal.compare.output.verdict import verdict
from lmms_causal.compare.records import Run

__all__ = ["SCHEMA_VERSION", "to_json", "to_latex", "to_markdown", "to_text"]

_COLUMNS = 100
_WIDTHS = (25, 6, 6, 6, 6, 16, 7, 7, 12)
_RUNS_ABREAST = 6
_STAR = "Differences from A of all runs; * marks what counts as one."
#: Moves of a terminal's cursor, colours, bells: answers and names must not command the reader's.
_CONTROL = re.compile(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_AGREEMENT_WIDTHS = (25, 8, 9, 10, 10, 10, 12, 9)


def to_text(comparisons: Sequence[Comparison], flips: int = 0) -> str:
    """The report for a terminal: identities, tables, remarks, cost and verdict of each B.

    Args:
        comparisons: What `compare` returned.
        flips: Most documents listed for each metric.
    """
    parts = [_one_text(comparison, flips) for comparison in comparisons]
    if len(comparisons) > 1:
        parts.append(_summary_text(comparisons))
    return _CONTROL.sub(" ", "\n\n".join(parts)) + "\n"


def to_markdown(comparisons: Sequence[Comparison], flips: int = 0) -> str:
    """The same report as GitHub-flavoured Markdown."""
    parts = [_one_markdown(comparison, flips) for comparison in comparisons]
    if len(comparisons) > 1:
        head, *rest = summary(comparisons)
        parts.append("\n".join([*_markdown_table(head, rest), "", _STAR, ""]))
    return "\n".join(parts)


def _one_text(comparison: Comparison, flips: int) -> str:
    lines = [*_identity("A", comparison.a), *_identity("B", comparison.b), ""]
    lines += _table(header(comparison), body(comparison), _WIDTHS)
    agreement = agreement_body(comparison)
    if agreement:
        lines += ["", *_table(agreement_header(comparison), agreement, _AGREEMENT_WIDTHS)]
    lines.append("")
    for text in legend(comparison):
        lines += _wrap(text)
    if comparison.costs:
        lines += ["", f"{'cost':34}{'A':>14}{'B':>14}{'B/A':>10}"]
        lines += [
            f"{name:34}{left:>14}{right:>14}{ratio:>10}"
            for name, left, right, ratio in cost_body(comparison)
        ]
    if flips:
        lines.append("")
        for text in flip_lines(comparison, flips):
            lines += _wrap(text)
    found = warnings(comparison)
    if found:
        lines.append("")
        for text in found:
            lines += _wrap(f"warning: {text}")
    lines += ["", *_wrap(f"Verdict: {verdict(comparison)}")]
    return "\n".join(lines)


def _one_markdown(comparison: Comparison, flips: int) -> str:
    lines = ["| run | interventions | model | harness | date |", "|---|---|---|---|---|"]
    for label, run in (("A", comparison.a), ("B", comparison.b)):
        harness = f"{run.harness} {run.harness_version or ''}".strip()
        identity = (label, f"`{run.interventions or 'none'}`", f"`{model_text(run)}`", harness)
        lines.append(_markdown_line([*identity, run.date]))
    lines += ["", *_markdown_table(header(comparison), body(comparison))]
    agreement = agreement_body(comparison)
    if agreement:
        lines += ["", *_markdown_table(agreement_header(comparison), agreement)]
    lines.append("")
    lines += [f"{_one_line(text)}\n" for text in legend(comparison)]
    if comparison.costs:
        lines += _markdown_table(["cost", "A", "B", "B/A"], cost_body(comparison))
    if flips and comparison.flips:
        lines += ["", "```text", *map(_one_line, flip_lines(comparison, flips)), "```"]
    lines += ["", *[f"* Warning: {_one_line(text)}" for text in warnings(comparison)]]
    lines += ["", f"**Verdict:** {_one_line(verdict(comparison))}", ""]
    return "\n".join(lines)


def _summary_text(comparisons: Sequence[Comparison]) -> str:
    """All runs beside each other, in numbered columns with the numbers explained below."""
    head, *rest = summary(comparisons)
    names = [f"B{place}" for place in range(1, len(comparisons) + 1)]
    lines: list[str] = []
    for first in range(0, len(names), _RUNS_ABREAST):
        some = slice(first, first + _RUNS_ABREAST)
        cells = [[*line[:2], *line[2:][some]] for line in rest]
        widths = (42, 7, *[7] * len(names[some]))
        lines += [*_table(["all runs", "A", *names[some]], cells, widths), ""]
    lines += _wrap(_STAR)
    for name, label in zip(names, head[2:], strict=True):
        lines += _wrap(f"{name}: {label}")
    return "\n".join(lines)


def _identity(label: str, run: Run) -> list[str]:
    version = f" (lmms-causal {run.causal_version})" if run.causal_version else ""
    text = (
        f"interventions: {run.interventions or 'none'}\n{model_text(run)}\n"
        f"{run.harness} {run.harness_version or '(version not recorded)'}{version}, {run.date}, "
        f"{run.path}"
    )
    lines = []
    for line in text.splitlines():
        lines += textwrap.wrap(line, _COLUMNS - 3, break_on_hyphens=False) or [""]
    return [f"{label if index == 0 else ' '}  {line}" for index, line in enumerate(lines)]


def _table(head: Cells, lines: Sequence[Cells], widths: Sequence[int]) -> list[str]:
    first = _line(head, widths)
    found = [first, "-" * len(first)]
    for cells in lines:
        cells = [_one_line(cell) for cell in cells]
        # A long name needs a line of its own.
        if len(cells) > 1 and len(cells[0]) > widths[0]:
            found += [cells[0], _line(["", *cells[1:]], widths)]
        else:
            found.append(_line(cells, widths))
    return found


def _line(cells: Cells, widths: Sequence[int]) -> str:
    rest = "".join(f" {cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=False))
    return f"{cells[0]:{widths[0]}}{rest}".rstrip()


def _markdown_table(head: Cells, lines: Sequence[Cells]) -> list[str]:
    found = [_markdown_line(head), "|---|" + "---:|" * (len(head) - 1)]
    for cells in lines:
        if len(cells) == 1:
            found.append(_markdown_line([f"**{cells[0]}**", *[""] * (len(head) - 1)]))
        else:
            found.append(_markdown_line([cell.strip() for cell in cells]))
    return found


def _markdown_line(cells: Cells) -> str:
    return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _one_line(text: str) -> str:
    """Names and values of fields come from the files and may hold line breaks."""
    return " ".join(text.splitlines())


def _wrap(text: str) -> list[str]:
    indent = len(text) - len(text.lstrip()) + 2
    return textwrap.wrap(text, _COLUMNS, subsequent_indent=" " * indent, break_on_hyphens=False)

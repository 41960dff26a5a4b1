"""Tables of a matrix beyond those of `compare`, for a terminal and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Section", "to_markdown", "to_text"]

_COLUMNS = 100


@dataclass(frozen=True)
class Section:
    """A table with its title and what a reader must know about it.

    Attributes:
        head: names of the columns.
        lines: cells of each line; a line of one cell is a heading.
    """

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str = ""


def to_text(section: Section) -> str:
    """Return it in columns, the first to the left; a long first cell has a line of its own."""
    full = [section.head, *(line for line in section.lines if len(line) > 1)]
    widths = [max(len(line[column]) for line in full) for column in range(len(section.head))]
    widths[0] = min(widths[0] + 2, max(12, _COLUMNS - sum(widths[1:]) - 2 * len(widths[1:])))

    def line(cells: Sequence[str]) -> str:
        rest = zip(cells[1:], widths[1:], strict=True)
        return cells[0].ljust(widths[0]) + "".join(f"  {cell:>{width}}" for cell, width in rest)

    shown = [section.title, "", line(section.head).rstrip()]
    shown.append("-" * len(shown[-1]))
    for cells in section.lines:
        if len(cells) == 1:
            shown.append(cells[0])
        elif len(cells[0]) + 2 > widths[0]:
            shown += [f"  {cells[0]}", line(["", *cells[1:]]).rstrip()]
        else:
            shown.append(line([f"  {cells[0]}", *cells[1:]]).rstrip())
    if section.note:
        shown += ["", *textwrap.wrap(section.note, _COLUMNS, break_on_hyphens=False)]
    return "\n".join(shown) + "\n"


def to_markdown(section: Section) -> str:
    """Return it as a GitHub-flavoured table under a heading."""
    shown = [f"## {section.title}", "", _row(section.head)]
    shown.append("|---|" + "---:|" * (len(section.head) - 1))
    for cells in section.lines:
        if len(cells) == 1:
            cells = [f"**{cells[0]}**", *[""] * (len(section.head) - 1)]
        shown.append(_row(cells))
    if section.note:
        shown += ["", section.note]
    return "\n".join(shown) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

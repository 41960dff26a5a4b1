"""Tables re-typed by a model: rows of cells, numbers compared as numbers."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.mme_cc.answers import LONGEST, visible

__all__ = ["cells", "decide_table", "only_table"]

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_RULE_LINE = re.compile(r"[\s|:+=-]*-[\s|:+=-]*")

Matrix = tuple[tuple[Any, ...], ...]


def only_table(response: str) -> Matrix | None:
    """The one table of a response; None if it has none, or two that differ.

    A fenced block counts as a whole. Otherwise a table is a run of lines that have the same number
    of cells by the same delimiter.
    """
    text = visible(strip_reasoning(response)[-LONGEST:])
    blocks = _FENCE.findall(text) or _runs(text)
    tables = {table for block in blocks if (table := cells(block)) is not None}
    return tables.pop() if len(tables) == 1 else None


def cells(text: str) -> Matrix | None:
    """Rows of cells of a text that is a table and nothing else; at least 2 by 2, all rows alike.

    Cells stand between bars, tabs, commas, semicolons or runs of blanks, or in JSON lists.

    >>> cells("a | b\\n1 | 2.50")
    (('a', 'b'), (Decimal('1'), Decimal('2.5')))
    """
    try:
        value = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list) and value and all(isinstance(row, list) for row in value):
        return _matrix([[str(cell) for cell in row] for row in value])
    lines = [line for line in text.splitlines() if line.strip() and not _RULE_LINE.fullmatch(line)]
    for delimiter in _DELIMITERS:
        rows = [_split(line, delimiter) for line in lines]
        if table := _matrix(rows):
            return table
    return None


def decide_table(reference: str, given: Matrix | None) -> bool | None:
    """True for equal cells; False if, in the same shape, a number stands where another belongs.

    Other differences may be a matter of typing and are not decided.
    """
    expected = only_table(reference)
    if expected is None or given is None:
        return None
    if len(expected) != len(given) or len(expected[0]) != len(given[0]):
        return None
    pairs = [
        pair
        for rows in zip(expected, given, strict=True)
        for pair in zip(*rows, strict=True)
        if pair[0] != pair[1]
    ]
    if not pairs:
        return True
    numbers = [pair for pair in pairs if all(isinstance(cell, Decimal) for cell in pair)]
    return False if numbers else None


_DELIMITERS = (r"\|", r"\t", r";", r",(?!\d{3}\b)", r"\s{2,}")


def _split(line: str, delimiter: str) -> list[str]:
    plain = line.strip().strip("|") if delimiter == r"\|" else line.strip()
    return re.split(delimiter, plain)


def _matrix(rows: list[list[str]]) -> Matrix | None:
    widths = {len(row) for row in rows}
    if len(rows) < 2 or len(widths) != 1 or widths.pop() < 2:
        return None
    return tuple(tuple(_cell(cell) for cell in row) for row in rows)


def _cell(text: str) -> Any:
    plain = " ".join(re.sub(r"\*\*|__|`|\$", "", text).split()).casefold()
    number = plain.replace(",", "").replace("−", "-")
    try:
        value = Decimal(number) if re.fullmatch(r"[+-]?\d{1,30}(?:\.\d{1,30})?", number) else None
    except InvalidOperation:
        value = None
    return plain if value is None else value.normalize()


def _runs(text: str) -> list[str]:
    """Runs of neighbouring lines in which the same delimiter occurs, strongest delimiter first."""
    for delimiter in _DELIMITERS[:3]:
        runs: list[list[str]] = [[]]
        for line in text.splitlines():
            if re.search(delimiter, line.strip()):
                runs[-1].append(line)
            elif runs[-1]:
                runs.append([])
        found = ["\n".join(run) for run in runs if len(run) >= 2]
        if found:
            return found
    return [text.strip()]

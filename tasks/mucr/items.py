"""From a released row to an item: two events, their cue, its rivals, and the siblings named.

List columns may hold a list or, in some copies, the text of one.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.mucr.data import Table, read_table

__all__ = ["Item", "id_order", "items_of", "read_items"]

_TEXTS = {"cause": ("cause", "caption_0"), "effect": ("effect", "caption_1")}
MOST_FALSE_CUES = 7


@dataclass(frozen=True)
class Item:
    """One pair of pictures and what is said of it.

    Attributes:
        key: the released id.
        row: its row in the table, where its pictures are.
        texts: the events in words, by role: ``cause`` and ``effect``.
        cue: the phrase that names the causal link.
        false_cues: phrases that do not; three as released.
        references: explanations of the link, three or one as released, possibly none.
        category: ``label``: who or what it is about.
        style: how the pictures look.
        links: ids of the siblings that the row names; None in the generation without them.
    """

    key: str
    row: int
    texts: Mapping[str, str]
    cue: str
    false_cues: tuple[str, ...]
    references: tuple[str, ...]
    category: str
    style: str
    links: tuple[str, ...] | None


def id_order(key: str) -> tuple[int, int, str]:
    """Sorts ids that are numbers by value, before all others."""
    return (0, int(key), key) if key.isdecimal() else (1, 0, key)


def read_items() -> tuple[Item, ...]:
    """All items, in the order of their rows.

    Raises:
        UserError: data that cannot be had, or a row that is none.
    """
    return items_of(read_table())


@lru_cache(maxsize=4)
def items_of(table: Table) -> tuple[Item, ...]:
    """The items of a table.

    Raises:
        UserError: a row lacks a column or has a value of another kind; an id occurs twice.
    """
    items: dict[str, Item] = {}
    for number, row in enumerate(table.rows):
        try:
            item = _item(number, row)
        except (KeyError, TypeError, ValueError, SyntaxError) as error:
            problem = f"no column {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"{table.source}: row {number} is no MuCR item ({problem}); replace the file by "
                "the released one"
            ) from error
        if item.key in items:
            raise UserError(
                f"{table.source}: rows {items[item.key].row} and {number} have the same id "
                f"{item.key}; keep one of them"
            )
        items[item.key] = item
    return tuple(items.values())


def _item(number: int, row: Mapping[str, Any]) -> Item:
    false_cues = _list("false_cue", row["false_cue"])
    if not 1 <= len(false_cues) <= MOST_FALSE_CUES:
        raise ValueError(f"false_cue has {len(false_cues)} phrases, 3 are expected")
    links = row.get("link_id")
    reasons = row.get("causal_reason")
    return Item(
        key=_key(row["id"]),
        row=number,
        texts={role: _first(row, columns) for role, columns in _TEXTS.items()},
        cue=_text("cue", row["cue"]),
        false_cues=false_cues,
        references=() if reasons in (None, "") else _list("causal_reason", reasons),
        category=_text("label", row["label"]),
        style=_text("style", row["style"]),
        links=None if links is None else tuple(map(_key, _values(links))),
    )


def _key(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).strip():
        raise TypeError(f"{value!r} is no id")
    return str(value).strip()


def _first(row: Mapping[str, Any], columns: tuple[str, ...]) -> str:
    for column in columns:
        if row.get(column) is not None:
            return _text(column, row[column])
    raise KeyError(" or ".join(columns))


def _text(column: str, value: Any) -> str:
    """The words of a text; a line break would end an option's line."""
    if not isinstance(value, str) or not value.split():
        raise TypeError(f"{column} is {value!r}, a text is expected")
    return " ".join(value.split())


def _list(column: str, value: Any) -> tuple[str, ...]:
    return tuple(_text(column, entry) for entry in _values(value))


def _values(value: Any) -> list[Any]:
    """The entries of a list, of a list's text, or one entry."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            # "[a, b, c]" without quotes
            value = [part.strip() for part in value.strip().strip("[]").split(",") if part.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]

"""AMBER's queries, annotations, associated words and safe words, from a folder or downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.released import Release, json_rows

__all__ = ["DATA_VARIABLE", "DIMENSIONS", "RELEASE", "Item", "Vocabulary", "items", "vocabulary"]

DATA_VARIABLE = "AMBER_ROOT"
COMMIT = "5e1fd52f8ea69150c70f0ba15de70af3a907a1fd"
RELEASE = Release(
    "amber",
    DATA_VARIABLE,
    "https://github.com/junyangwang0410/AMBER/tree/master/data",
    f"https://raw.githubusercontent.com/junyangwang0410/AMBER/{COMMIT}/data",
)
ROWS = 15_220
DIMENSIONS = {
    "discriminative-hallucination": "existence",
    "discriminative-attribute-state": "state",
    "discriminative-attribute-number": "number",
    "discriminative-attribute-action": "action",
    "discriminative-relation": "relation",
    "relation": "relation",
}
"""The dimension of each type of yes/no question in the annotations."""


@dataclass(frozen=True)
class Item:
    """One query with its annotation.

    ``truth`` is ``("yes",)`` or ``("no",)`` for a question; for a description it holds the objects
    that are in the picture, and ``imagined`` those that one might wrongly expect there.
    """

    number: int
    picture: str
    query: str
    kind: str
    truth: tuple[str, ...]
    imagined: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The words that count as objects, with the words associated to each, and the safe ones."""

    associated: Mapping[str, tuple[str, ...]]
    words: frozenset[str]
    safe: frozenset[str]


def items(*, generative: bool) -> list[Item]:
    """The queries of one part of AMBER, in the order of the release.

    Raises:
        UserError: files that cannot be had, or are not AMBER's.
    """
    queries = _rows("query/query_all.json")
    notes = {row["id"]: row for row in _rows("annotations.json")}
    found = []
    for row in queries:
        try:
            note = notes[row["id"]]
            kind = note["type"]
            if (kind == "generative") is not generative:
                continue
            if not generative and (kind not in DIMENSIONS or note["truth"] not in ("yes", "no")):
                raise ValueError(f"type {kind!r} with truth {note['truth']!r}")
            truth = tuple(note["truth"]) if generative else (note["truth"],)
            imagined = tuple(note["hallu"]) if generative else ()
            found.append(Item(row["id"], row["image"], row["query"], kind, truth, imagined))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"AMBER's query {row.get('id')} and its annotation do not fit "
                f"({type(error).__name__}: {error}); take both from {RELEASE.origin}"
            ) from error
    if not found:
        part = "generative" if generative else "discriminative"
        raise UserError(f"AMBER's files hold no {part} query; take them from {RELEASE.origin}")
    return found


def vocabulary() -> Vocabulary:
    """The words of ``relation.json`` and ``safe_words.txt``.

    Raises:
        UserError: a file that cannot be had or read.
    """
    return _vocabulary(RELEASE.locate("relation.json"), RELEASE.locate("safe_words.txt"))


@cache
def _vocabulary(relation: Path, safe: Path) -> Vocabulary:
    try:
        table = json.loads(relation.read_text(encoding="utf-8"))
        associated = {word: tuple(others) for word, others in table.items()}
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise UserError(
            f"{relation} is no table of associated words ({error}); take it from {RELEASE.origin}"
        ) from error
    words = frozenset(associated) | {word for others in associated.values() for word in others}
    return Vocabulary(associated, words, frozenset(safe.read_text(encoding="utf-8").split("\n")))


def _rows(name: str) -> list[dict[str, Any]]:
    return json_rows(RELEASE.locate(name, check=_require_complete))


def _require_complete(path: Path) -> None:
    if (found := len(json_rows(path))) != ROWS:
        raise UserError(
            f"what was downloaded has {found} rows instead of {ROWS}; set {DATA_VARIABLE} to a "
            f"folder with the files of {RELEASE.origin}"
        )

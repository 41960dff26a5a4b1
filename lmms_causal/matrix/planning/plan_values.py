"""The values of a plan, checked one by one; what is wrong is named with its place in the file."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError, nearest

__all__ = ["documents", "known_keys", "mapping", "number", "once", "texts", "whole", "words"]


def known_keys(path: Path, data: Mapping[Any, Any], known: tuple[str, ...], within: str) -> None:
    """Refuse a key that nobody reads; `within` is its place, such as ``settings: ``."""
    for key in data:
        if key not in known:
            raise UserError(
                f"{path}: {within}unknown key {key!r}{nearest(str(key), known)}; "
                f"it takes {', '.join(known)}"
            )


def mapping(
    path: Path, data: Mapping[str, Any], key: str, known: tuple[str, ...]
) -> dict[str, Any]:
    """Return the mapping under a key, empty where there is none; see `known_keys`."""
    value = data.get(key) or {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: {key}: {value!r} is not a mapping of {', '.join(known)}")
    known_keys(path, value, known, f"{key}: ")
    return dict(value)


def texts(path: Path, value: Any, key: str) -> tuple[str, ...]:
    """Return a list of names, or one name, as a tuple; blanks around commas do not count."""
    entries = value if isinstance(value, list) else [value]
    if not value or not all(isinstance(entry, str) and entry.strip() for entry in entries):
        raise UserError(f"{path}: {key}: give a list of names, such as [causal_vqa_mini]")
    names = tuple(",".join(part.strip() for part in entry.split(",")) for entry in entries)
    for name in names:
        if "" in name.split(","):
            raise UserError(f"{path}: {key}: {name!r}: a name is missing between commas")
    once(path, names, key)
    return names


def once(path: Path, names: tuple[str, ...], key: str) -> None:
    """Refuse a name that is there twice."""
    for name in names:
        if names.count(name) > 1:
            remedy = "give them names (name: ...)" if key == "models" else "name each entry once"
            raise UserError(f"{path}: {key}: {name!r} is there twice; {remedy}")


def documents(limit: Any, what: str) -> float:
    """Return how many documents of each task: a whole number, or a share below 1.

    Raises:
        UserError: beginning with ``what``; anything else, such as 0 or 10.5, of which the
            harnesses make a number of their own.
    """
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit < math.inf:
        raise UserError(f"{what}: give a number of documents, or a share below 1; all by default")
    if limit > 1 and limit != int(limit):
        raise UserError(f"{what}: give a whole number of documents, or a share below 1")
    return int(limit) if limit >= 1 else limit


def whole(path: Path, given: Mapping[str, Any], name: str, least: int, where: str) -> None:
    """Refuse what is no whole number from `least` on; None passes."""
    value = given.get(name)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or value < least
    ):
        raise UserError(f"{path}: {where}{name}: {value!r} is not a whole number from {least} on")


def number(
    path: Path, given: Mapping[str, Any], name: str, least: float, where: str = ""
) -> float | None:
    """Return a number from `least` on, or None where there is none."""
    value = given.get(name)
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value < math.inf:
        low = f" from {least:g} on" if least > -math.inf else ""
        raise UserError(f"{path}: {where}{name}: {value!r} is not a number{low}")
    return value


def words(path: Path, given: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """Return the words of a command line, given as a text or as a list of words.

    Raises:
        UserError: something else, such as a bare number; a quote that is not closed.
    """
    value = given.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            reason = str(error).lower()
            raise UserError(f"{path}: {where}{name}: {value!r}: {reason}; close it") from None
    if not isinstance(value, list) or not all(isinstance(it, (str, int, float)) for it in value):
        raise UserError(f"{path}: {where}{name}: {value!r} is neither a text nor a list of words")
    return tuple(map(str, value))

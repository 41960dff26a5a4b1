"""The patterns by name: the files of this folder, each registering its classes.

A name is what a text such as ``power(window=5)`` calls a pattern by (see ``spec.py``). A file is
imported when a name is asked for that is not known yet, so that a new one joins by being there.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import TypeVar

from lmms_causal.errors import UserError, nearest
from lmms_causal.kernels.patterns.base import AttentionPattern

__all__ = ["Entry", "entries", "entry", "name_of", "names", "pattern"]

_FOLDER = "lmms_causal.kernels.patterns"
_Class = TypeVar("_Class", bound=type[AttentionPattern])


@dataclass(frozen=True)
class Entry:
    """A class of patterns.

    Attributes:
        name: what texts call it.
        aliases: further names.
        cls: its frozen dataclass, whose fields are the parameters.
        example: a text that shows it at work on a few hundred tokens.
    """

    name: str
    aliases: tuple[str, ...]
    cls: type[AttentionPattern]
    example: str


_registered: dict[str, Entry] = {}


def pattern(name: str, *aliases: str, example: str = "") -> Callable[[_Class], _Class]:
    """Register a class of patterns under a name.

    Args:
        name: what texts call it; letters, digits and underscores.
        aliases: further names.
        example: a text that shows it at work on a few hundred tokens; by default the name alone.

    Raises:
        TypeError: the class is not a dataclass, or another class has one of the names.
    """

    def register(cls: _Class) -> _Class:
        if not is_dataclass(cls):
            raise TypeError(f"pattern {name!r} must be a dataclass: its fields are its parameters")
        for one in (name, *aliases):
            other = _registered.get(one)
            if other is not None and _place(other.cls) != _place(cls):
                raise TypeError(f"there is a pattern {one!r} already, in {other.cls.__module__}")
        found = Entry(name, aliases, cls, example or name)
        _registered.update(dict.fromkeys((name, *aliases), found))
        return cls

    return register


def entry(name: str) -> Entry:
    """The entry of a name.

    Raises:
        UserError: no pattern has it; the message lists them and the nearest.
    """
    if name not in _registered:
        _import_all()
    if name not in _registered:
        raise UserError(
            f"pattern={name}: there is none of that name{nearest(name, _registered)}; known: "
            f"{', '.join(names())}"
        )
    return _registered[name]


def entries() -> tuple[Entry, ...]:
    """All entries, by name."""
    _import_all()
    return tuple(found for name, found in sorted(_registered.items()) if name == found.name)


def names() -> tuple[str, ...]:
    """All names, without aliases."""
    return tuple(found.name for found in entries())


def name_of(cls: type[AttentionPattern]) -> str | None:
    """The name of a class, or None if it has none."""
    _import_all()
    return next((found.name for found in _registered.values() if found.cls is cls), None)


def _import_all() -> None:
    folder = importlib.import_module(_FOLDER)
    for module in pkgutil.iter_modules(folder.__path__):
        importlib.import_module(f"{_FOLDER}.{module.name}")


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__

"""Which methods exist: the files of ``methods/``, each registering one class under its own name."""

from __future__ import annotations

import pkgutil
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, Protocol, TypeVar

from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions import methods
from lmms_causal.interventions.plan import Plan

__all__ = ["Method", "example", "get", "method", "name_of", "names", "parameters"]


class Method(Protocol):
    """What a method's class must offer beside its dataclass fields (its parameters)."""

    def plan(self) -> Plan:
        """Return the contribution of this method with these parameters."""
        ...


_registered: dict[str, type[Any]] = {}
_Class = TypeVar("_Class", bound=type)


def name_of(cls: type[Any]) -> str:
    """Return a method's name: that of the file it is defined in."""
    return cls.__module__.rpartition(".")[2]


def method(cls: _Class) -> _Class:
    """Register a frozen dataclass under the name of its file.

    Raises:
        TypeError: the class is not a dataclass, or the file defines another method.
    """
    name = name_of(cls)
    if not is_dataclass(cls):
        raise TypeError(f"intervention {name!r} must be a dataclass: its fields are its parameters")
    known = _registered.setdefault(name, cls)
    if known.__qualname__ != cls.__qualname__:
        raise TypeError(f"methods/{name}.py defines a method already: {known.__qualname__}")
    _registered[name] = cls
    return cls


def names() -> tuple[str, ...]:
    """Return the names of all methods, without importing any."""
    found = {module.name for module in pkgutil.iter_modules(methods.__path__)}
    return tuple(sorted(found | set(_registered)))


def get(name: str) -> type[Any]:
    """Import a method's file and return its class.

    Raises:
        UserError: no method has this name; the message lists them and the nearest.
    """
    if name not in _registered:
        if name not in names():
            raise UserError(
                f"unknown intervention {name!r}{nearest(name, names())}; "
                f"available: {', '.join(names())}"
            )
        import_module(f"{methods.__name__}.{name}")
    if name not in _registered:
        raise TypeError(f"methods/{name}.py must define a @method class")
    return _registered[name]


def parameters(cls: type[Any]) -> tuple[str, ...]:
    """Return the names of a method's parameters in the order of its definition."""
    return tuple(field.name for field in fields(cls) if field.init)


def example(name: str) -> str:
    """Return a spec that shows a method at work: its own name, unless it needs another method."""
    return str(getattr(get(name), "example", name))

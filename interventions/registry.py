"""Which methods exist: the files of ``methods/``, each registering one class under its own name."""

from __future__ import annotations

import pkgutil
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, Protocol, TypeVar

from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions import methods
from lmms_causal.interventions.plan import Plan

__all__ = ["Method", "get", "method", "names"]


class Method(Protocol):
    """What a method's class must offer beside its dataclass fields (its parameters)."""

    def plan(self) -> Plan:
        """Return the contribution of this method with these parameters."""
        ...


_registered: dict[str, type[Any]] = {}
_Class = TypeVar("_Class", bound=type)


def method(cls: _Class) -> _Class:
    """Register a frozen dataclass under its lower-cased class name.

    Raises:
        TypeError: the class is not a dataclass, or another class has the name already.
    """
    name = cls.__name__.lower()
    if not is_dataclass(cls):
        raise TypeError(f"intervention {name!r} must be a dataclass: its fields are its parameters")
    known = _registered.setdefault(name, cls)
    if known.__module__ != cls.__module__:
        raise TypeError(f"intervention {name!r} is defined in {known.__module__} already")
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
        raise TypeError(f"methods/{name}.py must define a @method class whose name is {name!r}")
    return _registered[name]


def parameters(cls: type[Any]) -> tuple[str, ...]:
    """Return the names of a method's parameters in the order of its definition."""
    return tuple(field.name for field in fields(cls) if field.init)

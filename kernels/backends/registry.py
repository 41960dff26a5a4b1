"""The backends by name: one file each in this folder, with a ``BACKEND``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import lmms_causal.kernels.backends as folder
from lmms_causal.errors import UserError, nearest
from lmms_causal.kernels.backends.problem import Backend

__all__ = ["backend", "backends"]


@cache
def backends() -> dict[str, Backend]:
    """All backends, those that cannot run here included."""
    found: dict[str, Backend] = {}
    for module in pkgutil.iter_modules(folder.__path__):
        it = getattr(importlib.import_module(f"{folder.__name__}.{module.name}"), "BACKEND", None)
        if it is not None:
            found[it.name] = it
    return found


def backend(name: str) -> Backend:
    """The backend of a name.

    Raises:
        UserError: no backend has it.
    """
    known = backends()
    if name not in known:
        raise UserError(
            f"backend={name}: there is none of that name; known: auto, {', '.join(sorted(known))}"
            + nearest(name, [*known, "auto"])
        )
    return known[name]

"""What numbers a method's parameters may be, said once: a method names its parameters by kind."""

from __future__ import annotations

import math
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.interventions.registry import name_of

__all__ = ["check_not_negative", "check_positive", "check_share"]


def check_not_negative(method: Any, *names: str) -> None:
    """Refuse parameters below 0 or not finite; None, where a parameter may be left out, passes.

    Raises:
        UserError: names the method, the parameter and its value.
    """
    for name, value in _given(method, names):
        if not 0 <= value < math.inf:
            raise UserError(f"{_place(method, name, value)} must be 0 or more, and finite")


def check_positive(method: Any, *names: str) -> None:
    """Refuse parameters of 0 or below, or not finite; otherwise as `check_not_negative`."""
    for name, value in _given(method, names):
        if not 0 < value < math.inf:
            raise UserError(f"{_place(method, name, value)} must be above 0, and finite")


def check_share(method: Any, *names: str) -> None:
    """Refuse parameters outside [0, 1]; otherwise as `check_not_negative`."""
    for name, value in _given(method, names):
        if not 0 <= value <= 1:
            raise UserError(f"{_place(method, name, value)} must lie in 0..1")


def _given(method: Any, names: tuple[str, ...]) -> list[tuple[str, float]]:
    values = [(name, getattr(method, name)) for name in names]
    return [(name, value) for name, value in values if value is not None]


def _place(method: Any, name: str, value: float) -> str:
    return f"intervention {name_of(type(method))}: {name}={value}"

"""Parameters out of range are refused when a pattern is made, in one line."""

from __future__ import annotations

from lmms_causal.errors import UserError

__all__ = ["require"]


def require(name: str, least: int, **parameters: int | tuple[int, ...] | None) -> None:
    """Refuse parameters below a bound.

    Args:
        name: of the pattern.
        least: the least value that is allowed.
        parameters: by name; each a number, several, or None for a default that is derived.

    Raises:
        UserError: one is below it.
    """
    for parameter, value in parameters.items():
        several = value if isinstance(value, tuple) else (value,)
        if any(one is not None and one < least for one in several):
            text = "x".join(map(str, several))
            raise UserError(f"pattern {name}: {parameter}={text} must be {least} or more")

"""The model arguments of a plan's entry: read from a mapping or a text, each name once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

__all__ = ["arguments_of"]

_ELSEWHERE = {
    "interventions": "belongs under the plan's key interventions",
    "batch_size": "belongs under the plan's key settings; the harness would overrule it here",
}


def arguments_of(path: Path, given: Any) -> dict[str, str]:
    """Return value by name, in the order given; blanks around names do not count.

    Args:
        path: the plan's file, for errors.
        given: what stands under ``args``, or the text of an entry.

    Raises:
        UserError: an argument that is not one, or there twice, or that the run sets.
    """
    if given is None:
        given = {}
    if isinstance(given, dict):
        parts = [f"{name}={_value(path, name, value)}" for name, value in given.items()]
    elif isinstance(given, str):
        parts = [part for part in given.split(",") if part.strip()]
    else:
        raise UserError(f"{path}: models: args: {given!r} is neither a mapping nor name=value text")
    found: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.strip().partition("=")
        name = name.strip()
        if not equals or not name or "," in part:
            raise UserError(
                f"{path}: models: args: {part.strip()!r} is not name=value without commas"
            )
        if name in _ELSEWHERE:
            raise UserError(f"{path}: models: args: {part.strip()} {_ELSEWHERE[name]}")
        if name in found:
            raise UserError(f"{path}: models: args: {name} is there twice; name it once")
        found[name] = value.strip()
    return found


def _value(path: Path, name: Any, value: Any) -> Any:
    if isinstance(value, (dict, list)):
        raise UserError(f"{path}: models: args: {name}: {value!r} is not one value; write a text")
    return value

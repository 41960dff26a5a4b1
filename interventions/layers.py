"""Layers that a parameter names: ``12``, ``8-15`` or ``1|18-31``, counted from 0, ends included."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmms_causal.errors import UserError

__all__ = ["all_but_first", "beyond", "listed_layers", "named_layers"]

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def named_layers(method: str, parameter: str, text: str) -> range:
    """Return the layers that a text names.

    Raises:
        UserError: the text is not of this form.
    """
    match = _RANGE.fullmatch(text)
    if match is not None:
        first, last = int(match[1]), int(match[2] or match[1])
        if first <= last:
            return range(first, last + 1)
    raise UserError(
        f"intervention {method}: {parameter}={text} must be a range of layers such as 25-30, "
        "counted from 0, both ends included"
    )


def listed_layers(method: str, parameter: str, text: str) -> tuple[int, ...]:
    """Return the layers that a text names by ranges, joined by ``|`` or commas, in order.

    Raises:
        UserError: the text is not of this form.
    """
    named = (named_layers(method, parameter, part) for part in re.split(r"[|,]", text))
    return tuple(sorted({layer for layers in named for layer in layers}))


def all_but_first(depth: int, count: int) -> range:
    """Return all layers but the first ``count``; the last one at least."""
    return range(min(count, depth - 1), depth)


def beyond(parameter: str, layers: Sequence[int], depth: int, of: str) -> str | None:
    """Return why layers cannot be meant, in a model with ``depth`` of them, or None."""
    if layers[-1] < depth:
        return None
    return (
        f"{parameter}={layers[0]}-{layers[-1]} goes beyond its {depth} {of}, which are counted "
        "from 0"
    )

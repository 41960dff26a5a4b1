"""Rectangles: some queries, some keys, some heads. What edits open and close.

``Causal() | Rectangle(rows, keys)`` opens what is in it, ``Causal() - Rectangle(rows, keys)``
closes it. A rectangle alone knows no causality.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.base import AttentionPattern, Grid, classified, representative
from lmms_causal.kernels.patterns.context import Context
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["Ranges", "Rectangle", "ranges_where"]

Ranges = tuple[tuple[int, int], ...]
"""Stretches, half open, such as ``((0, 5), (8, 9))``."""


@pattern("rectangle", example="causal-rectangle(rows=20:40,keys=2:10|12:15)")
@dataclass(frozen=True)
class Rectangle(AttentionPattern):
    """``h in heads and i in rows and j in keys``.

    Attributes:
        rows: positions of queries, half open; None for all.
        keys: positions of keys; None for all.
        heads: query heads; None for all.
    """

    rows: Ranges | None = None
    keys: Ranges | None = None
    heads: Ranges | None = None

    def __post_init__(self) -> None:
        for name in ("rows", "keys", "heads"):
            for start, stop in getattr(self, name) or ():
                if not 0 <= start < stop:
                    raise UserError(
                        f"pattern rectangle: {name}={start}:{stop} is empty or begins before 0; "
                        "give START:STOP with STOP behind the last"
                    )

    def planes(self, context: Context) -> int:
        """As few as tell the heads apart."""
        if self.heads is None:
            return 1
        named = _inside(self.heads, torch.arange(context.heads))
        for planes in (1, context.kv_heads):
            group = named.view(planes, -1)
            if bool((group == group[:, :1]).all()):
                return planes
        return context.heads

    def check(self, context: Context) -> None:
        """No head beyond the last."""
        beyond = max((stop for _, stop in self.heads or ()), default=0)
        if beyond > context.heads:
            raise UserError(
                f"pattern rectangle: head {beyond - 1} of {context.heads}; heads are counted from 0"
            )

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether head, query and key are all named."""
        return _inside(self.heads, h) & _inside(self.rows, i) & _inside(self.keys, j)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """Exactly: whether all and any members of tiles are named."""
        rows, keys = _inside(self.rows, grid.q_positions), _inside(self.keys, grid.k_positions)
        h = representative(context, self.planes(context))
        heads = _inside(self.heads, h)[:, None, None]
        return classified(
            heads & rows.all(1)[None, :, None] & keys.all(1)[None, None],
            heads & rows.any(1)[None, :, None] & keys.any(1)[None, None],
        )


def ranges_where(chosen: Tensor) -> Ranges:
    """Return the stretches where a bool ``[n]`` is true."""
    edged = torch.nn.functional.pad(chosen.to(torch.int8), (1, 1)).diff()
    starts, stops = (edged == 1).nonzero().squeeze(1), (edged == -1).nonzero().squeeze(1)
    return tuple(zip(starts.tolist(), stops.tolist(), strict=True))


def _inside(ranges: Ranges | None, x: Tensor) -> Tensor:
    """Whether numbers are in one of the ranges."""
    if ranges is None:
        return torch.ones_like(x, dtype=torch.bool)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for start, stop in ranges:
        inside = inside | ((x >= start) & (x < stop))
    return inside

"""Causal patterns that depend on how many blocks a key is behind the query, with leading sinks.

With blocks of ``b`` tokens, ``delta = i // b - j // b`` and a set ``D`` of distances,

    allow(i, j) = j <= i  and  (delta in D  or  j // b < sink)

A subclass says what ``D`` is, element by element; all else follows. Sums over a table of ``D`` tell
exactly whether a stretch of distances holds none, some or only members.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from lmms_causal.kernels.patterns.base import AttentionPattern, Grid, classified
from lmms_causal.kernels.patterns.context import Context

__all__ = ["DistancePattern"]


class DistancePattern(AttentionPattern):
    """Base of patterns by distance in blocks.

    Attributes:
        block: ``b``, tokens in a block.
        sink: leading blocks that every later query sees.
    """

    block: int
    sink: int

    @abstractmethod
    def seen(self, delta: Tensor) -> Tensor:
        """Whether blocks at distances ``delta >= 0`` are seen; bool of its shape."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether the key is not after the query and in a block that is seen."""
        q, k = i // self.block, j // self.block
        # what is after the query is refused anyway, and `seen` may do as if there were none
        seen = self.seen((q - k).clamp(min=0))
        return (j <= i) & (seen | (k < self.sink) if self.sink else seen)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """By the stretch of distances between the ends of two tiles."""
        b = self.block
        low = (grid.q_low // b - grid.k_high // b).clamp(min=0)
        high = (grid.q_high // b - grid.k_low // b).clamp(min=0)
        table = self.seen(torch.arange(int(high.max()) + 1))
        count = torch.nn.functional.pad(table.cumsum(0), (1, 0))
        found = count[high + 1] - count[low]
        sink_all, sink_any = grid.k_high // b < self.sink, grid.k_low // b < self.sink
        return classified(
            (grid.k_high <= grid.q_low) & ((found == high - low + 1) | sink_all),
            (grid.k_low <= grid.q_high) & ((found > 0) | sink_any),
        )[None]

"""Causal attention: a query sees what is not after it. And full attention, which sees all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.kernels.patterns.base import ALL, AttentionPattern, Grid, classified
from lmms_causal.kernels.patterns.context import Context
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["Causal", "Full"]


@pattern("causal", "dense")
@dataclass(frozen=True)
class Causal(AttentionPattern):
    """``j <= i``."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether the key is not after the query."""
        return j <= i

    def states(self, context: Context, grid: Grid) -> Tensor:
        """All below the diagonal, none above it."""
        return classified(grid.k_high <= grid.q_low, grid.k_low <= grid.q_high)[None]

    def stretches(self, context: Context, i: int) -> Sequence[tuple[int, int]]:
        """From the first key to the query's own place."""
        return [(0, min(i + 1, context.keys))] if i >= 0 and context.keys else []


@pattern("full")
@dataclass(frozen=True)
class Full(AttentionPattern):
    """Every pair."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """True."""
        return torch.ones((), dtype=torch.bool, device=i.device).expand(
            torch.broadcast_shapes(h.shape, i.shape, j.shape)
        )

    def states(self, context: Context, grid: Grid) -> Tensor:
        """All of every tile."""
        return torch.full((1, 1, 1), ALL, dtype=torch.int8)

    def stretches(self, context: Context, i: int) -> Sequence[tuple[int, int]]:
        """All keys."""
        return [(0, context.keys)] if context.keys else []

"""Patterns from patterns: both, either, one without the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.kernels.patterns.base import ALL, AttentionPattern, Grid
from lmms_causal.kernels.patterns.context import Context

__all__ = ["Both", "Either", "Without"]


@dataclass(frozen=True)
class _Pair(AttentionPattern):
    first: AttentionPattern
    second: AttentionPattern

    def planes(self, context: Context) -> int:
        """As many as make both the same within each."""
        return math.lcm(self.first.planes(context), self.second.planes(context))

    def order(self, context: Context) -> Tensor | None:
        """The order of the first that has one."""
        order = self.first.order(context)
        return self.second.order(context) if order is None else order

    def check(self, context: Context) -> None:
        """Both must be applicable."""
        self.first.check(context)
        self.second.check(context)

    def _states(self, context: Context, grid: Grid) -> tuple[Tensor, Tensor]:
        planes = self.planes(context)
        return (
            _spread(self.first.states(context, grid), planes),
            _spread(self.second.states(context, grid), planes),
        )


@dataclass(frozen=True)
class Both(_Pair):
    """What both allow: ``first & second``."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether both allow the pairs."""
        return self.first.allowed(context, h, i, j) & self.second.allowed(context, h, i, j)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """The lesser state of the two."""
        return torch.minimum(*self._states(context, grid))


@dataclass(frozen=True)
class Either(_Pair):
    """What either allows: ``first | second``."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether one of the two allows the pairs."""
        return self.first.allowed(context, h, i, j) | self.second.allowed(context, h, i, j)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """The greater state of the two: two halves that make a whole are looked up."""
        return torch.maximum(*self._states(context, grid))


@dataclass(frozen=True)
class Without(_Pair):
    """What the first allows and the second does not: ``first - second``."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether the first allows the pairs and the second does not."""
        return self.first.allowed(context, h, i, j) & ~self.second.allowed(context, h, i, j)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """The lesser of the first's state and the opposite of the second's."""
        first, second = self._states(context, grid)
        return torch.minimum(first, ALL - second)


def _spread(states: Tensor, planes: int) -> Tensor:
    """States for each of more planes."""
    own = states.shape[0]
    return states if own in (1, planes) else states.repeat_interleave(planes // own, dim=0)

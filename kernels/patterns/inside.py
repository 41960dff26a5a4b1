"""Patterns with a rule of their own inside regions, such as pictures, and causal elsewhere.

A subclass says what is seen inside (``within``), the same of tiles (``within_states``), and if it
knows one an order in which that fills tiles better (``arrangement``). Regions come first then, so
that their tiles begin where tiles begin, and all that is outside keeps its order.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.base import AttentionPattern, Grid, classified
from lmms_causal.kernels.patterns.context import Context, Region

__all__ = ["InsidePattern", "Members"]


@dataclass(frozen=True, eq=False)
class Members:
    """What tiles have inside a region.

    Attributes:
        places: from the region's start, ``[t, b]``; where a position is outside, another that is
            inside stands for it, if the tile has any.
        some: whether a tile has any, ``[t]``.
        every: whether all of it is inside, ``[t]``.
    """

    places: Tensor
    some: Tensor
    every: Tensor

    @classmethod
    def of(cls, positions: Tensor, region: Region) -> Members:
        """Those of tiles of positions ``[t, b]``."""
        inside = (positions >= region.start) & (positions < region.stop)
        one = positions.gather(1, inside.to(torch.int8).argmax(1, keepdim=True))
        places = torch.where(inside, positions, one) - region.start
        size = region.stop - region.start
        return cls(places.clamp(0, size - 1), inside.any(1), inside.all(1))


class InsidePattern(AttentionPattern):
    """Base of patterns that have a rule inside regions and are causal elsewhere.

    Regions must not overlap. Pairs of two regions are elsewhere.
    """

    @abstractmethod
    def regions(self, context: Context) -> tuple[Region, ...]:
        """Where the rule holds."""

    @abstractmethod
    def within(self, region: Region, i: Tensor, j: Tensor) -> Tensor:
        """Whether a place of the region sees another, both counted from its start.

        What it answers for places that are not in the region does not matter.
        """

    @abstractmethod
    def within_states(self, region: Region, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Whether tiles of places ``[nq, bq]`` and ``[nk, bk]`` see all, and any, of each other.

        Returns:
            Two bool ``[nq, nk]``. The first may be false and the second true out of ignorance.
        """

    def arrangement(self, region: Region) -> Tensor | None:
        """An order of a region's places that fills tiles better, int64, or None."""
        return None

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """By the rule inside, causal elsewhere."""
        seen = j <= i
        for region in self.regions(context):
            inside = _inside(region, i) & _inside(region, j)
            within = self.within(region, i - region.start, j - region.start)
            seen = torch.where(inside, within, seen)
        return seen

    def states(self, context: Context, grid: Grid) -> Tensor:
        """By the members that tiles have inside each region, and by their ends for the rest."""
        every = torch.ones(len(grid.q_positions), grid.k_positions.shape[0], dtype=torch.bool)
        some, one = ~every, ~every
        for region in self.regions(context):
            q, k = Members.of(grid.q_positions, region), Members.of(grid.k_positions, region)
            meet = q.some[:, None] & k.some[None]
            if not meet.any():
                continue
            all_within, any_within = self.within_states(region, q.places, k.places)
            every &= all_within | ~meet
            some |= any_within & meet
            one |= q.every[:, None] & k.every[None]
        # `one`: no pair of the tile is elsewhere
        every &= one | (grid.k_high <= grid.q_low)
        some |= ~one & (grid.k_low <= grid.q_high)
        return classified(every, some)[None]

    def order(self, context: Context) -> Tensor | None:
        """Regions in their arrangement, then the rest."""
        rest = torch.ones(context.keys, dtype=torch.bool)
        parts = []
        for region in self.regions(context):
            if region.stop > context.keys:
                continue
            arrangement = self.arrangement(region)
            if arrangement is not None:
                parts.append(arrangement + region.start)
                rest[region.start : region.stop] = False
        return torch.cat([*parts, rest.nonzero().squeeze(1)]) if parts else None

    def _named(self, context: Context, kind: str, name: str, remedy: str) -> tuple[Region, ...]:
        """The regions of a name, of which there must be one.

        Raises:
            UserError: there is none.
        """
        found = context.named(name)
        if not found:
            raise UserError(f"pattern {kind}: the prompt has no region {name!r}; {remedy}")
        return found


def _inside(region: Region, x: Tensor) -> Tensor:
    return (x >= region.start) & (x < region.stop)

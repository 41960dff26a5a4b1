"""Segments whose order shall not matter: what of each other they see.

The visibility of position-invariant attention (PINE), Wang et al., "Eliminating Position Bias of
Language Models", arXiv 2407.01100, without its positions, for which see ``kernels/segments``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.base import AttentionPattern, Grid, classified
from lmms_causal.kernels.patterns.context import Context
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["Segments"]


@pattern("segments")
@dataclass(frozen=True)
class Segments(AttentionPattern):
    """Causal, but between two segments of a group there is all (``mutual``) or nothing (``own``).

    Regions of the name that touch are a group. What is outside, and other groups, is seen causally.

    Attributes:
        visible: whether a segment sees the others of its group wholly, those behind it too, or only
            itself.
        name: of the regions.
    """

    visible: str = "mutual"
    name: str = "segment"

    def __post_init__(self) -> None:
        if self.visible not in ("own", "mutual"):
            raise UserError(f"pattern segments: visible={self.visible} is neither own nor mutual")

    def check(self, context: Context) -> None:
        """There are segments."""
        if not context.named(self.name):
            raise UserError(
                f"pattern segments: the prompt has no region {self.name!r}; declare its segments"
            )

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Causal, and between segments as said."""
        segment, group = self._labels(context, i)
        other, other_group = self._labels(context, j)
        between = (group == other_group) & (segment != other) & (group > 0)
        return (j <= i) | between if self.visible == "mutual" else (j <= i) & ~between

    def states(self, context: Context, grid: Grid) -> Tensor:
        """By the segments and groups that tiles have."""
        segment, group = self._labels(context, grid.q_positions)
        other, other_group = self._labels(context, grid.k_positions)
        s, g = _ends(segment, 0), _ends(group, 0)
        t, f = _ends(other, 1), _ends(other_group, 1)
        one_group = (g[0] == g[1]) & (f[0] == f[1]) & (g[0] == f[0])
        one_segment = (s[0] == s[1]) & (t[0] == t[1]) & (s[0] == t[0])
        every = one_group & (g[0] > 0) & ((s[1] < t[0]) | (t[1] < s[0]))
        some = (torch.minimum(g[1], f[1]) > 0) & (g[0] <= f[1]) & (f[0] <= g[1]) & ~one_segment
        past, reached = grid.k_high <= grid.q_low, grid.k_low <= grid.q_high
        if self.visible == "mutual":
            return classified(past | every, reached | some)[None]
        return classified(past & ~some, reached & ~every)[None]

    def _labels(self, context: Context, x: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers of the segments and of the groups of positions, from 1; 0 outside."""
        segment, group = torch.zeros_like(x), torch.zeros_like(x)
        groups, end = 0, -1
        for number, region in enumerate(
            sorted(context.named(self.name), key=lambda region: region.start)
        ):
            groups += region.start != end
            end = region.stop
            inside = (x >= region.start) & (x < region.stop)
            segment = torch.where(inside, number + 1, segment)
            group = torch.where(inside, groups, group)
        return segment, group


def _ends(labels: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The least and greatest label of tiles ``[t, b]``, laid along an axis of a grid of tiles."""
    least, greatest = labels.amin(1), labels.amax(1)
    return (least[:, None], greatest[:, None]) if axis == 0 else (least[None], greatest[None])

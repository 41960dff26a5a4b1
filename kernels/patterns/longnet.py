"""LongNet: within segments of growing length, ever fewer of the tokens.

Ding et al., "LongNet: Scaling Transformers to 1,000,000,000 Tokens", arXiv 2307.02486, as a mask,
in blocks as the baseline of "PowerAttention", arXiv 2503.03588. LongNet computes its levels apart
and weighs them by their denominators, so that a pair in several of them counts several times; here
it counts once. How the baseline shifts its blocks by head is not known; here it is as in LongNet.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.base import AttentionPattern, Grid, classified, representative
from lmms_causal.kernels.patterns.context import Context
from lmms_causal.kernels.patterns.limits import require
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["LongNet"]


@pattern("longnet", example="longnet(block=4,segments=4x8x16)")
@dataclass(frozen=True)
class LongNet(AttentionPattern):
    """Dilated attention in segments, by key head.

    With ``q = i // block``, ``k = j // block`` and ``g`` the key head of ``h``, for a segment of
    ``w`` blocks with dilation ``r = w / segments[0]``::

        j <= i  and  for one of the segments: q // w == k // w  and  q = k = g  (mod r)

    Attributes:
        block: tokens in a block.
        segments: lengths in blocks, each a multiple of the first, whose dilation is 1.
    """

    block: int = 256
    segments: tuple[int, ...] = (8, 16, 32, 64, 128)

    def __post_init__(self) -> None:
        require("longnet", 1, block=self.block, segments=self.segments)
        if not self.segments or any(w % self.segments[0] for w in self.segments):
            raise UserError(
                f"pattern longnet: segments={'x'.join(map(str, self.segments))} must be multiples "
                "of the first"
            )

    def planes(self, context: Context) -> int:
        """One for each key head."""
        return context.kv_heads

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether both are in the same segment and among those of it that this head has."""
        q, k, g = i // self.block, j // self.block, _key_head(context, h)
        seen = None
        for w in self.segments:
            r = w // self.segments[0]
            level = (q // w == k // w) & (q % r == g % r) & (k % r == g % r)
            seen = level if seen is None else seen | level
        assert seen is not None
        return seen & (j <= i)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """By the stretches of blocks of two tiles, level by level."""
        b = self.block
        g = _key_head(context, representative(context, self.planes(context)))[:, None, None]
        q_low, q_high, k_low, k_high = (
            end // b for end in (grid.q_low, grid.q_high, grid.k_low, grid.k_high)
        )
        every = torch.zeros((), dtype=torch.bool)
        some = every
        for w in self.segments:
            r = w // self.segments[0]
            queries, keys = _counted(q_low - g, q_high - g, r), _counted(k_low - g, k_high - g, r)
            whole = (queries == q_high - q_low + 1) & (keys == k_high - k_low + 1)
            q_first, q_last, k_first, k_last = q_low // w, q_high // w, k_low // w, k_high // w
            every = every | (whole & (q_first == k_last) & (k_first == q_last))
            some = some | ((queries > 0) & (keys > 0) & (q_first <= k_last) & (k_first <= q_last))
        return classified(every & (grid.k_high <= grid.q_low), some & (grid.k_low <= grid.q_high))


def _key_head(context: Context, h: Tensor) -> Tensor:
    return h // (context.heads // context.kv_heads)


def _counted(first: Tensor, last: Tensor, r: int) -> Tensor:
    """How many multiples of ``r`` there are from ``first`` to ``last``."""
    return last.div(r, rounding_mode="floor") - (first - 1).div(r, rounding_mode="floor")

"""S2-Attention: near blocks for all heads, and far ones shared out among the heads.

"S2-Attention", arXiv 2407.17678; code linxihui/dkernel. Each head has near blocks and every so
manieth of all, other ones for each head, so that together they see everything. Which far blocks a
head sees does not depend on the query: what it has dropped from its cache it never needs again.
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

__all__ = ["S2"]


@pattern("s2", example="s2(block=16,local=2,stride=4)")
@dataclass(frozen=True)
class S2(AttentionPattern):
    """Local and strided blocks, by key head.

    With ``q = i // block``, ``k = j // block``, ``delta = q - k`` and ``g`` the key head of ``h``::

        j <= i and (delta < local  or  (k + g step + offset) mod stride == 0
                    or  g >= kv_heads - dense)

    and in the relative form, which looks both ways and is the same for all heads but dense ones::

        (max(0, delta - local + 1) + max(0, -delta - local + 1)) mod stride == 0

    Attributes:
        block: tokens in a block.
        local: nearest blocks seen, the query's own counted.
        stride: of far blocks one in so many is seen.
        step: how far the far blocks of neighbouring heads differ; by default ``stride // heads``
            with the number of query heads, and 1 at least. (Another version of the published code
            divides by the number of key heads where these are fewer.)
        offset: added to the number of a block for all heads.
        dense: how many key heads, the last ones, see all.
        same: whether all heads see what the first does.
        relative: whether far blocks are counted from the query, to both sides.
    """

    block: int = 64
    local: int = 16
    stride: int = 8
    step: int | None = None
    offset: int = 0
    dense: int = 0
    same: bool = False
    relative: bool = False

    def __post_init__(self) -> None:
        require("s2", 1, block=self.block, local=self.local, stride=self.stride)
        require("s2", 0, step=self.step, offset=self.offset, dense=self.dense)
        if self.same and self.dense:
            raise UserError(f"pattern s2: same=true leaves no head to be dense, dense={self.dense}")

    def planes(self, context: Context) -> int:
        """One for each key head, where they differ."""
        one = self.same or (self.relative and not self.dense)
        return 1 if one else context.kv_heads

    def check(self, context: Context) -> None:
        """No more dense heads than key heads."""
        if self.dense > context.kv_heads:
            raise UserError(
                f"pattern s2: dense={self.dense} of {context.kv_heads} key heads; take fewer"
            )

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether the key is near, or in a far block that is this head's."""
        q, k = i // self.block, j // self.block
        if self.relative:
            seen = (self._beyond(q - k) + self._beyond(k - q)) % self.stride == 0
        else:
            own = -self._shift(context, h) % self.stride
            seen = (q - k < self.local) | (k % self.stride == own)
        if self.dense:
            seen = seen | self._is_dense(context, h)
        return seen if self.relative else seen & (j <= i)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """By the stretches of blocks that two tiles meet."""
        b, stride = self.block, self.stride
        q_low, q_high, k_low, k_high = (
            end // b for end in (grid.q_low, grid.q_high, grid.k_low, grid.k_high)
        )
        h = representative(context, self.planes(context))[:, None, None]
        low, high = q_low - k_high, q_high - k_low
        if self.relative:
            # on one side of the query the distance beyond the window runs from `near` to `far`
            near = self._beyond(torch.maximum(low, -high))
            far = self._beyond(torch.maximum(high, -low))
            met = far // stride - (near - 1).div(stride, rounding_mode="floor")
            every, some = (met == far - near + 1)[None], (met > 0)[None]
        else:
            shift = self._shift(context, h)
            first, last = k_low + shift, k_high + shift
            met = last // stride - (first - 1).div(stride, rounding_mode="floor")
            every = (high < self.local) | (met == last - first + 1)
            some = (low < self.local) | (met > 0)
        if self.dense:
            dense = self._is_dense(context, h)
            every, some = every | dense, some | dense
        if not self.relative:
            every, some = every & (grid.k_high <= grid.q_low), some & (grid.k_low <= grid.q_high)
        return classified(every, some)

    def _shift(self, context: Context, h: Tensor) -> Tensor:
        """What is added to the numbers of blocks for a head."""
        if self.same:
            return torch.zeros_like(h) + self.offset
        step = max(1, self.stride // context.heads) if self.step is None else self.step
        return _key_head(context, h) * step + self.offset

    def _is_dense(self, context: Context, h: Tensor) -> Tensor:
        return _key_head(context, h) >= context.kv_heads - self.dense

    def _beyond(self, delta: Tensor) -> Tensor:
        """How far a block is beyond the near ones, on the side where ``delta`` is positive."""
        return (delta - self.local + 1).clamp(min=0)


def _key_head(context: Context, h: Tensor) -> Tensor:
    return h // (context.heads // context.kv_heads)

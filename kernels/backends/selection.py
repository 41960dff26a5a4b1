"""Which keys a tile of queries sees, as indices, and what of them is closed to which query."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lmms_causal.kernels.patterns import AttentionPattern, Context, TilePlan, key_ranges

__all__ = ["Selection", "of_step", "of_tile"]


@dataclass(frozen=True, eq=False)
class Selection:
    """The keys of some queries. Tensors are on the processor.

    Attributes:
        rows: which queries, as a slice.
        keys: a slice where all planes see one stretch; else indices ``[planes or 1, L]``.
        open: True where a query may see a key, bool ``[planes or 1, r, L]``; None for all.
    """

    rows: slice
    keys: slice | Tensor
    open: Tensor | None

    @property
    def count(self) -> int:
        """How many keys are taken, the most of any plane."""
        if isinstance(self.keys, slice):
            return max(0, self.keys.stop - self.keys.start)
        return self.keys.shape[1]

    def of_keys(self, x: Tensor) -> Tensor:
        """What is taken of keys or values ``[B, H_k, n, d]``: ``[B, G, L, d]``.

        ``G`` is ``H_k``, or more where heads that share keys see different ones.
        """
        if isinstance(self.keys, slice):
            return x[:, :, self.keys]
        keys = self.keys.to(x.device)
        batch, shared, n, width = x.shape
        if len(keys) == 1:
            return x.index_select(2, keys[0])
        groups = math.lcm(shared, len(keys))
        head = torch.arange(groups, device=x.device) * shared // groups
        flat = keys.repeat_interleave(groups // len(keys), 0) + head[:, None] * n
        taken = x.reshape(batch, shared * n, width).index_select(1, flat.flatten())
        return taken.view(batch, groups, keys.shape[1], width)

    def of_heads(self, x: Tensor, heads: int) -> Tensor:
        """What is taken of numbers for keys ``[B or 1, H or 1, n]``: ``[B or 1, H or 1, L]``."""
        if isinstance(self.keys, slice):
            return x[:, :, self.keys]
        keys = self.keys.to(x.device)
        if len(keys) == 1:
            return x.index_select(2, keys[0])
        keys = keys.repeat_interleave(heads // len(keys), 0)
        return x.expand(-1, heads, -1).gather(2, keys.expand(x.shape[0], -1, -1))

    def allowed(self, heads: int, device: torch.device) -> Tensor | None:
        """What is open, bool ``[1, H or 1, r, L]`` on a device, or None for all."""
        if self.open is None:
            return None
        some = self.open.to(device)
        return (some if len(some) == 1 else some.repeat_interleave(heads // len(some), 0))[None]


def of_tile(plan: TilePlan, tile: int) -> Selection:
    """The keys of a tile of queries, whole tiles of keys.

    Planes that see fewer tiles than others get some that are closed to them.
    """
    context, bk = plan.context, plan.k_tile
    rows = slice(tile * plan.q_tile, min((tile + 1) * plan.q_tile, context.queries))
    lines = torch.arange(plan.planes) * plan.q_tiles + tile
    first, counts = plan.starts[lines].long(), plan.starts.diff()[lines].long()
    most = int(counts.max()) if len(counts) else 0
    if not most:
        return Selection(rows, slice(0, 0), None)
    place = torch.arange(most)
    there = place < counts[:, None]
    at = (first[:, None] + place).masked_fill(~there, 0)
    columns, masks = plan.columns[at].long().masked_fill(~there, 0), plan.masks[at]
    some = there & (masks >= 0)
    is_open = there[:, None, :, None].expand(plan.planes, plan.q_tile, most, bk)
    if some.any():
        bit = torch.arange(8, dtype=torch.uint8)
        bits = (plan.bitmaps[masks[some].long()][..., None] >> bit & 1).bool().flatten(2)
        plane, column = some.nonzero(as_tuple=True)
        is_open = is_open.clone()
        is_open[plane, :, column] = bits
    is_open = is_open[:, : rows.stop - rows.start].flatten(2)
    keys = (columns[..., None] * bk + torch.arange(bk)).flatten(1)
    behind = keys >= context.keys  # a tile at the end may be short
    if bool((columns == columns[:1]).all()):
        keys, behind = keys[:1], behind[:1]
        if behind.any():  # then it is the last
            kept = int((~behind).sum())
            keys, is_open = keys[:, :kept], is_open[..., :kept]
        start, stop = int(keys[0, 0]), int(keys[0, -1]) + 1
        if stop - start == keys.shape[1]:
            return Selection(rows, slice(start, stop), None if is_open.all() else is_open)
    elif behind.any():
        is_open = is_open & ~behind[:, None]
        keys = keys.clamp(max=context.keys - 1)
    return Selection(rows, keys, None if is_open.all() else is_open)


@lru_cache(maxsize=64)
def of_step(pattern: AttentionPattern, context: Context) -> Selection:
    """The keys of a few queries, no more than somebody of a plane sees."""
    planes, m, n = pattern.planes(context), context.queries, context.keys
    starts, ranges = key_ranges(pattern, context)
    row = torch.repeat_interleave(torch.arange(planes * m), starts.diff().long())
    edges = torch.zeros(planes * m, n + 1, dtype=torch.int8)
    edges[row, ranges[:, 0].long()] += 1
    edges[row, ranges[:, 1].long()] -= 1
    is_open = edges.cumsum(1, dtype=torch.int8)[:, :n].bool().view(planes, m, n)
    seen = is_open.any(1)
    together = seen.any(0)
    if bool((seen == together).all()):
        index = together.nonzero().squeeze(1)
        if not len(index):
            return Selection(slice(0, m), slice(0, 0), None)
        start, stop = int(index[0]), int(index[-1]) + 1
        if stop - start == len(index):
            some = is_open[..., start:stop]
            return Selection(slice(0, m), slice(start, stop), None if some.all() else some)
        some = is_open[..., index]
        return Selection(slice(0, m), index[None], None if some.all() else some)
    most = int(seen.sum(1).max())
    keys = seen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    some = is_open.gather(2, keys[:, None].expand(-1, m, -1))
    return Selection(slice(0, m), keys, None if some.all() else some)

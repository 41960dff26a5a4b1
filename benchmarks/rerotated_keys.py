"""PINE as its release computes it, vectorised: what the operator is measured against.

Keys stay in the cache without rotary embedding. For each segment they are rotated anew for each
head, and for each query after the segments for each head and query.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lmms_causal.kernels.rotation import Rotation, rotate
from lmms_causal.kernels.segments import Block, Placement, SegmentLayout, shifts

__all__ = ["Row", "by_rerotated_keys"]

ROTATED = 1 << 26  # numbers of re-rotated keys at a time: 256 MB in float32


@dataclass(frozen=True)
class Row:
    """One row of a prompt with one group of segments; ``q0, k0`` are without rotary embedding.

    Attributes:
        q0, q: queries ``[H, n, d]``.
        k0, k, v: keys and values ``[H_k, n, d]``.
        layout, positions, rotation: as for the operator.
    """

    q0: Tensor
    k0: Tensor
    v: Tensor
    layout: SegmentLayout
    positions: Tensor
    rotation: Rotation

    @cached_property
    def q(self) -> Tensor:
        """Queries as the model rotated them."""
        return rotate(self.q0, self.positions, self.rotation)

    @cached_property
    def k(self) -> Tensor:
        """Keys as the model rotated them."""
        return rotate(self.k0, self.positions, self.rotation)

    @property
    def group(self) -> tuple[Block, ...]:
        """The segments."""
        (group,) = self.layout.groups
        return group

    @property
    def scale(self) -> float:
        """Factor of the scores."""
        return float(self.q0.shape[-1] ** -0.5)


def by_rerotated_keys(row: Row, first: int) -> Tensor:
    """Attend from the columns from ``first`` on; ``[H, n - first, d]``."""
    heads, n, width = row.q0.shape
    group, place = row.group, Placement.of(row.group, row.positions)
    start, stop = group[0].start, group[-1].stop
    k0, v = (x.repeat_interleave(heads // x.shape[0], 0) for x in (row.k0, row.v))
    which = torch.cat([torch.full((len(block),), block.index) for block in group])
    columns = torch.arange(n)
    results = []
    if first < start:
        q, keys, values = (
            row.q[None, :, first:start],
            row.k[None, :, :start],
            row.v[None, :, :start],
        )
        before = scaled_dot_product_attention(q, keys, values, is_causal=True, enable_gqa=True)
        results.append(before[0])
    for block in group if first < stop else ():
        own = columns[block.start : block.stop]
        q0 = row.q0[:, own]
        importance = _importance(row, q0, k0[:, start:stop], block.index).sum(1)
        moved = row.positions[:stop].expand(heads, -1).clone()
        moved[:, start:] += place.moves(shifts(importance, place.extents, block.index))[:, which]
        query = rotate(q0, row.positions[own] + place.stacked(block.index), row.rotation)
        scores = query @ rotate(k0[:, :stop], moved, row.rotation).mT
        allowed = (columns[:stop] <= own[:, None]) | (columns[:stop] >= block.stop)
        results.append(_weights(row, scores, allowed) @ v[:, :stop])
    step = max(1, ROTATED // (heads * n * width))
    for at in range(max(first, stop), n, step):
        own = columns[at : at + step]
        importance = _importance(row, row.q0[:, own], k0[:, start:stop], None)
        moved = row.positions.expand(heads, len(own), -1).clone()
        moved[..., start:stop] += place.moves(shifts(importance, place.extents))[..., which]
        keys = rotate(k0[:, None], moved, row.rotation)  # [H, queries, n, d]
        scores = (keys @ row.q[:, own].unsqueeze(-1)).squeeze(-1)
        results.append(_weights(row, scores, columns <= own[:, None]) @ v)
    return torch.cat(results, 1)


def _importance(row: Row, q0: Tensor, k0: Tensor, own: int | None) -> Tensor:
    scores = (q0 @ k0.mT).float() * row.scale
    parts = list(scores.split([len(block) for block in row.group], -1))
    if own is not None:
        parts[own] = torch.full_like(parts[own], -torch.inf)
    parts = torch.cat(parts, -1).softmax(-1).split([len(block) for block in row.group], -1)
    return torch.stack([part.mean(-1) for part in parts], -1)


def _weights(row: Row, scores: Tensor, allowed: Tensor) -> Tensor:
    scaled = (scores.float() * row.scale).masked_fill_(~allowed, -torch.inf)
    return scaled.softmax(-1).to(scores.dtype)

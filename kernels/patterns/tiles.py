"""Tile lists: for each tile of queries the tiles of keys that it meets, and what is masked there.

The lists come from the states that a pattern gives for tiles. Pairs are looked at only in tiles
whose state is *some*, a bounded number at a time, and equal masks are kept once. No mask of all
queries by all keys is ever built.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.base import (
    ALL,
    NONE,
    SOME,
    AttentionPattern,
    Grid,
    representative,
)
from lmms_causal.kernels.patterns.context import Context

__all__ = ["TilePlan", "allowed_block", "key_ranges", "pairs", "tile_plan"]

_PAIRS = 1 << 22  # looked at at a time


@dataclass(frozen=True, eq=False)
class TilePlan:
    """What a kernel is told of a pattern. Tensors are on the processor, contiguous, not to be
    changed.

    Key tiles of query tile ``t`` of plane ``p`` are ``columns[starts[r] : starts[r + 1]]`` with
    ``r = p * nq + t``, ascending. ``masks`` has for each of them -1 where all its pairs are
    allowed, or a row of ``bitmaps``. Query head ``h`` is in plane ``h * planes // heads``.

    Attributes:
        context: the call.
        q_tile: queries in a tile; the last may hold fewer.
        k_tile: keys in a tile, a multiple of 8; the last may hold fewer, and those that are missing
            do not count for whether all pairs are allowed.
        planes: how many masks.
        starts: int32 ``[planes * nq + 1]``.
        columns: int32 ``[T]``.
        masks: int32 ``[T]``.
        bitmaps: uint8 ``[M, q_tile, k_tile / 8]``, the lowest bit first; 0 for what is not there.
        order: positions in the order of the tiles, int64 ``[keys]``, or None for the plain one.
        pairs: how many pairs are allowed, summed over query heads.
    """

    context: Context
    q_tile: int
    k_tile: int
    planes: int
    starts: Tensor
    columns: Tensor
    masks: Tensor
    bitmaps: Tensor
    order: Tensor | None
    pairs: int

    @property
    def q_tiles(self) -> int:
        """Tiles of queries."""
        return -(-self.context.queries // self.q_tile)

    @property
    def k_tiles(self) -> int:
        """Tiles of keys."""
        return -(-self.context.keys // self.k_tile)

    @property
    def visited(self) -> int:
        """Tiles that are computed, summed over query heads."""
        return len(self.columns) * (self.context.heads // self.planes)

    @property
    def density(self) -> float:
        """Allowed pairs in relation to those of causal attention (below it, for full)."""
        context = self.context
        last = torch.arange(context.offset, context.offset + context.queries) + 1
        causal = int(last.clamp(0, context.keys).sum()) * context.heads
        return self.pairs / max(1, causal)

    def states(self) -> Tensor:
        """States of all tiles, int8 ``[planes, nq, nk]``."""
        grid = torch.zeros(self.planes * self.q_tiles, self.k_tiles, dtype=torch.int8)
        rows = torch.repeat_interleave(torch.arange(len(grid)), self.starts.diff().long())
        grid[rows, self.columns.long()] = torch.where(self.masks < 0, ALL, SOME).to(torch.int8)
        return grid.view(self.planes, self.q_tiles, self.k_tiles)


@lru_cache(maxsize=64)
def tile_plan(
    pattern: AttentionPattern,
    context: Context,
    q_tile: int = 64,
    k_tile: int = 64,
    reorder: bool = True,
) -> TilePlan:
    """Return the tile lists of a pattern.

    Args:
        pattern: the pattern.
        context: the call.
        q_tile: queries in a tile.
        k_tile: keys in a tile.
        reorder: whether tokens may be taken in the pattern's own order.

    Raises:
        UserError: tiles of an impossible size, or a pattern that this call cannot have.
    """
    if q_tile < 1 or k_tile < 8 or k_tile % 8:
        raise UserError(
            f"tiles of {q_tile} queries by {k_tile} keys: take 1 or more by a multiple of 8"
        )
    pattern.check(context)
    planes = pattern.planes(context)
    whole = context.queries == context.keys and context.offset == 0
    order = pattern.order(context) if reorder and whole else None
    q_index = torch.arange(context.queries)
    k_index = torch.arange(context.keys)
    q_at = q_index + context.offset if order is None else order
    k_at = k_index if order is None else order
    grid = Grid.of(_tiled(q_at, q_tile), _tiled(k_at, k_tile))
    shape = (planes, len(grid.q_positions), len(grid.k_positions))
    states = pattern.states(context, grid).expand(shape)
    visited = states != NONE
    plane, row, column = visited.nonzero(as_tuple=True)
    state = states[visited]
    there = _there(context, q_tile, k_tile)
    masks, bitmaps, keep, counts = _looked_up(
        pattern, context, grid, (plane, row, column, state), there
    )
    plane, row, column = plane[keep], row[keep], column[keep]
    lines = torch.bincount(plane * shape[1] + row, minlength=planes * shape[1])
    starts = torch.zeros(len(lines) + 1, dtype=torch.int32)
    starts[1:] = lines.cumsum(0)
    return TilePlan(
        context,
        q_tile,
        k_tile,
        planes,
        starts,
        column.to(torch.int32),
        masks[keep],
        bitmaps,
        order,
        int(counts.sum()) * (context.heads // planes),
    )


def _looked_up(
    pattern: AttentionPattern,
    context: Context,
    grid: Grid,
    tiles: tuple[Tensor, Tensor, Tensor, Tensor],
    there: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks ``[T]`` of tiles, their bitmaps, which tiles to keep, and numbers of pairs ``[T]``."""
    plane, row, column, state = tiles
    q_there, k_there = there
    masks = torch.full((len(plane),), -1, dtype=torch.int32)
    counts = q_there.sum(1)[row] * k_there.sum(1)[column]
    keep = torch.ones(len(plane), dtype=torch.bool)
    unclear = (state == SOME).nonzero().squeeze(1)
    bq, bk = q_there.shape[1], k_there.shape[1]
    head = representative(context, max(1, pattern.planes(context)))
    weight = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)
    known: dict[bytes, int] = {}
    for some in unclear.split(max(1, _PAIRS // (bq * bk))):
        r, c = row[some], column[some]
        possible = q_there[r][:, :, None] & k_there[c][:, None]
        i, j = grid.q_positions[r][:, :, None], grid.k_positions[c][:, None]
        found = pattern.allowed(context, head[plane[some]][:, None, None], i, j) & possible
        counts[some] = found.flatten(1).sum(1)
        bits = (found.view(len(some), bq, bk // 8, 8) * weight).sum(-1, dtype=torch.uint8)
        partial = (found != possible).flatten(1).any(1)
        for index, tile in zip(
            some[partial].tolist(), bits[partial].flatten(1).numpy(), strict=True
        ):
            masks[index] = known.setdefault(tile.tobytes(), len(known))
        keep[some] = counts[some] > 0
    joined = b"".join(known)
    bitmaps = torch.frombuffer(bytearray(joined), dtype=torch.uint8) if joined else torch.empty(0)
    return masks, bitmaps.to(torch.uint8).view(-1, bq, bk // 8), keep, counts


def _tiled(positions: Tensor, size: int) -> Tensor:
    """Positions ``[n]`` as tiles ``[ceil(n / size), size]``; the last is repeated at the end."""
    missing = -len(positions) % size
    return torch.cat([positions, positions[-1:].expand(missing)]).view(-1, size)


def _there(context: Context, q_tile: int, k_tile: int) -> tuple[Tensor, Tensor]:
    """Which members of tiles are there, bool ``[nq, bq]`` and ``[nk, bk]``."""
    q = torch.arange(-(-context.queries // q_tile) * q_tile) < context.queries
    k = torch.arange(-(-context.keys // k_tile) * k_tile) < context.keys
    return q.view(-1, q_tile), k.view(-1, k_tile)


@lru_cache(maxsize=256)
def key_ranges(pattern: AttentionPattern, context: Context) -> tuple[Tensor, Tensor]:
    """Return the keys of a few queries as ranges, which is what a decoding step reads.

    Returns:
        int32 ``starts [planes * queries + 1]`` and ``ranges [R, 2]``, half open: those of query
        ``t`` in plane ``p`` are ``ranges[starts[r] : starts[r + 1]]`` with ``r = p * queries + t``.
    """
    pattern.check(context)
    planes = pattern.planes(context)
    if planes == 1:
        own = range(context.offset, context.offset + context.queries)
        lists = [pattern.stretches(context, i) for i in own]
        if None not in lists:
            counts = list(accumulate((len(some or ()) for some in lists), initial=0))
            ranges = [stretch for some in lists for stretch in some or ()]
            return (
                torch.tensor(counts, dtype=torch.int32),
                torch.tensor(ranges, dtype=torch.int32).view(-1, 2),
            )
    allowed = allowed_block(pattern, context).expand(planes, -1, -1).flatten(0, 1)
    edged = torch.nn.functional.pad(allowed, (1, 1))
    # in each row the first of a range and what is behind its last take turns
    row, at = (edged[:, 1:] ^ edged[:, :-1]).nonzero(as_tuple=True)
    starts = torch.zeros(len(edged) + 1, dtype=torch.int32)
    starts[1:] = torch.bincount(row[::2], minlength=len(edged)).cumsum(0)
    return starts, at.view(-1, 2).to(torch.int32)


def allowed_block(
    pattern: AttentionPattern,
    context: Context,
    first: int = 0,
    count: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return what some queries may see, bool ``[planes, count, keys]``.

    Args:
        pattern: the pattern.
        context: the call.
        first: index of the first query.
        count: how many queries; all by default.
        device: where.
    """
    count = context.queries - first if count is None else count
    planes = pattern.planes(context)
    h = representative(context, planes, device)[:, None, None]
    i = torch.arange(first, first + count, device=device)[None, :, None] + context.offset
    j = torch.arange(context.keys, device=device)[None, None]
    return pattern.allowed(context, h, i, j).expand(planes, count, context.keys)


def pairs(pattern: AttentionPattern, context: Context) -> int:
    """Return how many pairs are allowed, summed over query heads."""
    return tile_plan(pattern, context).pairs

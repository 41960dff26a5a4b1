"""Tile-level bounds: how much faster a pattern can be when a kernel skips whole tiles.

A kernel computes tiles of queries by keys and skips those in which no pair is allowed. What is
skipped bounds the speed-up, whatever the kernel. Two ways to count:

* ``simulate`` counts the tiles of any pattern from its tile lists;
* ``simulate_neighborhood`` counts those of neighborhood attention on grids of any size, axis by
  axis: windows are products of intervals, so the tiles visited are products over the axes, and
  nothing grows with the square of the number of tokens. Tiles are boxes of the grid, as in kernels
  that permute tokens (GNA, arXiv 2504.16922; its own simulator is not published).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns import AttentionPattern, Causal, Context, tile_plan
from lmms_causal.kernels.patterns.neighborhood import Axis

__all__ = ["AxisTiles", "TileReport", "axis_tiles", "simulate", "simulate_neighborhood"]


@dataclass(frozen=True)
class TileReport:
    """Tiles of a pattern, summed over query heads.

    Attributes:
        tile: pairs in a tile, those past the end included.
        visited: tiles that hold an allowed pair.
        partial: visited tiles that need a mask; None where only ``perfect`` is known.
        full: tiles of full attention.
        causal: tiles of causal attention; None where that has no meaning (grids).
        pairs: allowed pairs.
        full_pairs: pairs of full attention.
        rows: queries.
        perfect: whether no visited tile needs a mask.
    """

    tile: int
    visited: int
    partial: int | None
    full: int
    causal: int | None
    pairs: int
    full_pairs: int
    rows: int
    perfect: bool

    @property
    def tile_bound(self) -> float:
        """Greatest speed-up over full attention by the same tiles."""
        return self.full / self.visited if self.visited else math.inf

    @property
    def causal_bound(self) -> float | None:
        """Greatest speed-up over causal attention by the same tiles."""
        if self.causal is None:
            return None
        return self.causal / self.visited if self.visited else math.inf

    @property
    def flop_bound(self) -> float:
        """Speed-up over full attention if pairs could be skipped one by one."""
        return self.full_pairs / self.pairs if self.pairs else math.inf

    @property
    def waste(self) -> float:
        """Pairs computed for each allowed pair; 1 if tiles fit the pattern exactly."""
        return self.visited * self.tile / self.pairs if self.pairs else 1.0


def simulate(
    pattern: AttentionPattern,
    context: Context,
    q_tile: int = 64,
    k_tile: int = 64,
    reorder: bool = True,
) -> TileReport:
    """Count the tiles of a pattern.

    Args:
        pattern: any pattern.
        context: the call; queries and keys need not be the same.
        q_tile: queries in a tile.
        k_tile: keys in a tile, a multiple of 8.
        reorder: whether tokens may be taken in the pattern's own order.

    Raises:
        UserError: tiles of an impossible size, or a pattern that this call cannot have.
    """
    plan = tile_plan(pattern, context, q_tile, k_tile, reorder)
    partial = int((plan.masks >= 0).sum()) * (context.heads // plan.planes)
    return TileReport(
        tile=q_tile * k_tile,
        visited=plan.visited,
        partial=partial,
        full=plan.q_tiles * plan.k_tiles * context.heads,
        causal=tile_plan(Causal(), context, q_tile, k_tile).visited,
        pairs=plan.pairs,
        full_pairs=context.queries * context.keys * context.heads,
        rows=context.queries * context.heads,
        perfect=partial == 0,
    )


@dataclass(frozen=True)
class AxisTiles:
    """Tiles along one axis of a grid.

    Attributes:
        full: pairs of tiles there are.
        visited: pairs of tiles in which some query's window has a key.
        pairs: pairs of coordinates in windows.
        dense: whether every query of a tile sees all keys of all tiles it visits.
    """

    full: int
    visited: int
    pairs: int
    dense: bool


def simulate_neighborhood(
    grid: Sequence[int],
    kernel: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    causal: bool | Sequence[bool] = False,
    *,
    q_tile: int | Sequence[int],
    kv_tile: int | Sequence[int],
) -> TileReport:
    """Count the tiles of neighborhood attention on a grid, for one head.

    Args:
        grid: extents ``L``, as ``(frames, rows, columns)``.
        kernel: window ``k`` of each axis, or one for all; as are those that follow.
        stride: ``s``: groups of so many queries share a window.
        dilation: ``d``: keys of a window are ``d`` apart.
        causal: axes along which nothing later is seen.
        q_tile: extents of a box of queries, inside a dilation group.
        kv_tile: extents of a box of keys.

    Raises:
        UserError: parameters that the grid cannot have.
    """
    count = len(grid)
    if not count:
        raise UserError("grid=: give the extent of one axis or more")
    axes = [
        axis_tiles(*of_axis)
        for of_axis in zip(
            grid,
            _each("kernel", kernel, count),
            _each("stride", stride, count),
            _each("dilation", dilation, count),
            _each("causal", causal, count),
            _each("q_tile", q_tile, count),
            _each("kv_tile", kv_tile, count),
            strict=True,
        )
    ]
    tokens = math.prod(grid)
    perfect = all(axis.dense for axis in axes)
    return TileReport(
        tile=math.prod(_each("q_tile", q_tile, count))
        * math.prod(_each("kv_tile", kv_tile, count)),
        visited=math.prod(axis.visited for axis in axes),
        partial=0 if perfect else None,
        full=math.prod(axis.full for axis in axes),
        causal=None,
        pairs=math.prod(axis.pairs for axis in axes),
        full_pairs=tokens * tokens,
        rows=tokens,
        perfect=perfect,
    )


def axis_tiles(
    length: int, kernel: int, stride: int, dilation: int, causal: bool, q_tile: int, kv_tile: int
) -> AxisTiles:
    """Count the tiles along one axis, dilation group by dilation group.

    Raises:
        UserError: a window that does not fit the axis, a stride longer than the window, or a
            number that is not positive.
    """
    if min(length, kernel, stride, dilation, q_tile, kv_tile) < 1:
        raise UserError(
            f"axis of {length}: kernel={kernel}, stride={stride}, dilation={dilation}, "
            f"q_tile={q_tile} and kv_tile={kv_tile} must all be 1 or more"
        )
    if kernel * dilation > length:
        raise UserError(
            f"kernel={kernel} with dilation={dilation} spans {kernel * dilation} places, and the "
            f"axis has {length}; make one of them smaller"
        )
    if stride > kernel:
        raise UserError(f"stride={stride} is longer than kernel={kernel}; make it {kernel} or less")
    visited = pairs = 0
    dense = True
    longer = length % dilation  # groups that have one member more than the others
    for members, groups in (
        (length // dilation, dilation - longer),
        (length // dilation + 1, longer),
    ):
        if not groups:
            continue
        axis = Axis(members, kernel, stride, causal=causal)
        low, high = axis.window(torch.arange(members))
        first, last = _tiled(low, q_tile).amin(1), _tiled(high, q_tile).amax(1)
        first, last = first // kv_tile, last // kv_tile
        visited += groups * int((last - first + 1).sum())
        pairs += groups * int((high - low + 1).sum())
        begin, end = first * kv_tile, ((last + 1) * kv_tile).clamp(max=members) - 1
        covers = (_tiled(low, q_tile) <= begin[:, None]) & (_tiled(high, q_tile) >= end[:, None])
        dense = dense and bool(covers.all())
    return AxisTiles(-(-length // q_tile) * -(-length // kv_tile), visited, pairs, dense)


def _tiled(values: Tensor, size: int) -> Tensor:
    """``[n]`` as ``[ceil(n / size), size]``; the last is repeated."""
    return torch.cat([values, values[-1:].expand(-len(values) % size)]).view(-1, size)


def _each(name: str, given: int | Sequence[int], axes: int) -> tuple[int, ...]:
    values = (given,) * axes if isinstance(given, int) else tuple(given)
    if len(values) != axes:
        raise UserError(f"{name} has {len(values)} numbers and the grid {axes} axes; give one each")
    return values

"""Neighborhood attention in one, two or three dimensions, with stride, dilation and causal axes.

Hassani et al., "Faster Neighborhood Attention", arXiv 2403.04690, and "Generalized Neighborhood
Attention", arXiv 2504.16922; code SHI-Labs/NATTEN, whose masks these are.

On one axis of length ``L``, with kernel ``k``, stride ``s`` and dilation ``d``: coordinate ``x`` is
place ``t = x // d`` of group ``x mod d``, which has ``M = ceil((L - x mod d) / d)`` places. It sees
places ``low .. high`` of its group,

    lead = min((t // s) s + s // 2, M - 1)                      the middle of its stride
    low  = clamp(lead, k // 2, M - (k + 1) // 2) - k // 2       shifted at the borders, never cut
    high = low + k - 1
    causal:  low = max(min((t // s) s + s - 1, M - 1) - k + 1, 0),   high = t

and on several axes what it sees on each. ``s = 1`` is neighborhood attention, ``s = k`` attention
in blocks where ``k`` divides ``L``, and ``k = L`` full attention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.context import Context, Region
from lmms_causal.kernels.patterns.inside import InsidePattern
from lmms_causal.kernels.patterns.limits import require
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["Axis", "Neighborhood"]

_TILE = 64
"""Places that an order puts together, as in the tiles that backends take."""


@dataclass(frozen=True)
class Axis:
    """One axis: its length, and the kernel on it (see the module)."""

    length: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    causal: bool = False

    def window(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """First and last place that coordinates see in their group, of their shape."""
        t = x // self.dilation
        places = (self.length - x % self.dilation + self.dilation - 1) // self.dilation
        start = t // self.stride * self.stride
        if self.causal:
            lead = torch.minimum(start + self.stride - 1, places - 1)
            return (lead - self.kernel + 1).clamp(min=0), t
        before, after = self.kernel // 2, (self.kernel - 1) // 2
        lead = torch.minimum(start + self.stride // 2, places - 1)
        low = torch.minimum(lead, places - 1 - after).clamp(min=before) - before
        return low, low + self.kernel - 1

    def visited(self, tile: int) -> int:
        """Pairs of tiles of so many places that are visited, summed over groups."""
        total = 0
        for group in range(min(self.dilation, self.length)):
            x = torch.arange(group, self.length, self.dilation)
            low, high = self.window(x)
            last = torch.arange(tile - 1, len(x) + tile - 1, tile).clamp(max=len(x) - 1)
            # both ends of windows ascend
            total += int((high[last] // tile - low[::tile] // tile + 1).sum())
        return total


@pattern("neighborhood", "gna", example="neighborhood(3)")
@dataclass(frozen=True)
class Neighborhood(InsidePattern):
    """The neighbours in a picture or video, or in a whole sequence; causal outside of pictures.

    Without causal axes a place sees exactly the product of ``kernel`` places, those behind it in
    raster order too; ``Neighborhood(...) & Causal()`` leaves those out.

    Attributes:
        kernel: how many places are seen on each axis. One number stands for all axes, here and in
            the next three.
        stride: neighbours that share one window.
        dilation: distance of the places that are seen.
        causal: whether nothing behind a place on the axis is seen.
        grid: extents of the whole sequence if there is no region ``inside``, or of the regions that
            do not have extents themselves.
        inside: name of the regions in which this holds.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = (1,)
    dilation: tuple[int, ...] = (1,)
    causal: tuple[bool, ...] = (False,)
    grid: tuple[int, ...] = ()
    inside: str = "image"

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation", "causal"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, tuple) else (value,))
        require("neighborhood", 1, kernel=self.kernel, stride=self.stride, dilation=self.dilation)
        require("neighborhood", 1, grid=self.grid)

    def regions(self, context: Context) -> tuple[Region, ...]:
        """The pictures with their extents, or the whole sequence as one.

        Raises:
            UserError: there is neither.
        """
        found = context.named(self.inside)
        if not found and self.grid:
            return (Region("all", 0, math.prod(self.grid), self.grid),)
        named = self._named(
            context,
            "neighborhood",
            self.inside,
            "give one with its extents, or a grid=ROWSxCOLUMNS of the whole sequence",
        )
        return tuple(
            region if region.grid else Region(region.name, region.start, region.stop, self.grid)
            for region in named
        )

    def axes(self, region: Region) -> tuple[Axis, ...]:
        """The axes of a region.

        Raises:
            UserError: the kernel does not fit the region's extents.
        """
        rank = len(region.grid)
        where = f"a region of {'x'.join(map(str, region.grid))}"
        if not 1 <= rank <= 3:
            raise UserError(
                f"pattern neighborhood: region {region.name} has {rank} axes; give it a grid of 1 "
                "to 3 extents"
            )
        columns = []
        for name in ("kernel", "stride", "dilation", "causal"):
            value = getattr(self, name)
            if len(value) not in (1, rank):
                raise UserError(
                    f"pattern neighborhood: {name}={'x'.join(map(str, value))} for {where}; give "
                    f"one number, or one for each of its {rank} axes"
                )
            columns.append(value if len(value) == rank else value * rank)
        axes = tuple(Axis(*given) for given in zip(region.grid, *columns, strict=True))
        for axis in axes:
            if axis.kernel * axis.dilation > axis.length:
                raise UserError(
                    f"pattern neighborhood: kernel {axis.kernel} with dilation {axis.dilation} "
                    f"does not fit an axis of {axis.length} in {where}; their product must not be "
                    "more"
                )
            if axis.stride > axis.kernel:
                raise UserError(
                    f"pattern neighborhood: stride {axis.stride} is more than kernel "
                    f"{axis.kernel}; some places would be seen by nobody"
                )
        return axes

    def check(self, context: Context) -> None:
        """There are extents, the kernel fits them, and a whole sequence has as many places."""
        regions = self.regions(context)
        for region in regions:
            self.axes(region)
        if not context.named(self.inside) and regions[0].stop != context.keys:
            raise UserError(
                f"pattern neighborhood: grid={'x'.join(map(str, self.grid))} has "
                f"{regions[0].stop} places and the sequence {context.keys}; make them equal, "
                f"or say where region {self.inside!r} is"
            )

    def within(self, region: Region, i: Tensor, j: Tensor) -> Tensor:
        """Whether a place is in the other's window on all axes."""
        seen = None
        for axis, x, y in _coordinates(self.axes(region), i, j):
            low, high = axis.window(x)
            place = y // axis.dilation
            near = (low <= place) & (place <= high)
            if axis.dilation > 1:
                near = near & (x % axis.dilation == y % axis.dilation)
            seen = near if seen is None else seen & near
        assert seen is not None
        return seen

    def within_states(self, region: Region, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """By the boxes around tiles."""
        return _boxes(self.axes(region), q, k)

    def arrangement(self, region: Region) -> Tensor | None:
        """Boxes of 64 places together, of the shape that meets the fewest others."""
        return _arrangement(self.axes(region))


def _coordinates(
    axes: tuple[Axis, ...], i: Tensor, j: Tensor
) -> Iterator[tuple[Axis, Tensor, Tensor]]:
    """Each axis with the coordinates of two sets of places on it."""
    step = math.prod(axis.length for axis in axes)
    for axis in axes:
        step //= axis.length
        yield axis, i // step % axis.length, j // step % axis.length


def _boxes(axes: tuple[Axis, ...], q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Whether tiles of places see all, and any, of each other, by the boxes around them."""
    every = torch.ones(len(q), len(k), dtype=torch.bool)
    some = every.clone()
    for axis, x, y in _coordinates(axes, q, k):
        low, high = axis.window(x)
        place = y // axis.dilation
        least, greatest = place.amin(1)[None], place.amax(1)[None]
        some &= (low.amin(1)[:, None] <= greatest) & (least <= high.amax(1)[:, None])
        every &= (low.amax(1)[:, None] <= least) & (greatest <= high.amin(1)[:, None])
        if axis.dilation > 1:
            group, other = x % axis.dilation, y % axis.dilation
            first, last = group.amin(1)[:, None], group.amax(1)[:, None]
            other_first, other_last = other.amin(1)[None], other.amax(1)[None]
            some &= (first <= other_last) & (other_first <= last)
            every &= (first == other_last) & (other_first == last)
    return every, some


@lru_cache(maxsize=64)
def _arrangement(axes: tuple[Axis, ...]) -> Tensor | None:
    """The order of the best boxes; None where it saves little against the plain one."""
    shapes = product(*([1 << n for n in range(_TILE.bit_length())] for _ in axes))
    boxes = [shape for shape in shapes if math.prod(shape) == _TILE]
    # of equal ones the most even, which is the least sensitive to where tiles begin
    best = min(
        boxes,
        key=lambda box: (
            math.prod(axis.visited(side) for axis, side in zip(axes, box, strict=True)),
            max(box),
        ),
    )
    plain = torch.arange(math.prod(axis.length for axis in axes))
    keys = [
        torch.stack([x % axis.dilation, x // axis.dilation // side, x])
        for (axis, x, _), side in zip(_coordinates(axes, plain, plain), best, strict=True)
    ]
    order = plain
    for level in (2, 1, 0):  # stable sorts, the finest first
        for key in reversed(keys):
            order = order[key[level][order].argsort(stable=True)]
    return order if _visited(axes, order) < 0.95 * _visited(axes, plain) else None


def _visited(axes: tuple[Axis, ...], order: Tensor) -> int:
    """Pairs of tiles that may see each other in an order."""
    missing = -len(order) % _TILE
    tiles = torch.cat([order, order[-1:].expand(missing)]).view(-1, _TILE)
    return int(_boxes(axes, tiles, tiles)[1].sum())

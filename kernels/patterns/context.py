"""What a pattern is asked about: the shape of one call, and where things are in its prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lmms_causal.errors import UserError

__all__ = ["Context", "Region"]


@dataclass(frozen=True)
class Region:
    """A stretch of positions with a name, as a picture in a prompt.

    Attributes:
        name: ``image`` and ``question`` are those that patterns ask for.
        start: first position.
        stop: behind the last.
        grid: the extents of what lies there in raster order, as ``(rows, columns)`` of a picture's
            patches or ``(frames, rows, columns)``; empty where it has none.
    """

    name: str
    start: int
    stop: int
    grid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        size = 1
        for extent in self.grid:
            size *= extent
        if self.grid and size != self.stop - self.start:
            raise UserError(
                f"region {self.name}: a grid of {'x'.join(map(str, self.grid))} has {size} places, "
                f"and positions {self.start} to {self.stop} are {self.stop - self.start}"
            )


@dataclass(frozen=True)
class Context:
    """One call of attention, in positions of its content: padding does not count.

    Query ``i`` of the call is at position ``offset + i``, key ``j`` at position ``j``.

    Attributes:
        queries: how many.
        keys: how many.
        offset: position of the first query. By default the last query is the last key.
        heads: query heads.
        kv_heads: key heads; query head ``h`` uses key head ``h // (heads / kv_heads)``.
        regions: where pictures, questions, segments are.
    """

    queries: int
    keys: int
    offset: int = None  # type: ignore[assignment]  # a number from __post_init__ on
    heads: int = 1
    kv_heads: int = 1
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        if self.offset is None:
            object.__setattr__(self, "offset", self.keys - self.queries)
        if self.heads % self.kv_heads:
            raise UserError(
                f"{self.heads} query heads cannot share {self.kv_heads} key heads; the first must "
                "be a multiple of the second"
            )

    def named(self, name: str) -> tuple[Region, ...]:
        """The regions of a name, in order."""
        return tuple(region for region in self.regions if region.name == name)

    def step(self, position: int) -> Context:
        """The context of one query alone, as when a token is generated."""
        return replace(self, queries=1, offset=position)

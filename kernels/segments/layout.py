"""Which columns of a row are text, and which are the interchangeable segments of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lmms_causal.errors import UserError

__all__ = ["Block", "SegmentLayout"]


@dataclass(frozen=True)
class Block:
    """Adjacent columns ``start .. stop - 1``.

    Attributes:
        start, stop: columns of the padded row.
        group: number of the group of segments; None for ordinary text.
        index: which segment of the group, in prompt order; 0 for ordinary text.
        rank: its place among equally important segments, where that shall not be prompt order.
    """

    start: int
    stop: int
    group: int | None = None
    index: int = 0
    rank: int = 0

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class SegmentLayout:
    """A row: text, and groups of adjacent segments, in the order of columns.

    Attributes:
        blocks: disjoint and contiguous from the first column that is no padding. The last is text;
            it may be empty, and generated tokens belong to it.
    """

    blocks: tuple[Block, ...]

    @classmethod
    def of(
        cls,
        segments: Sequence[Sequence[tuple[int, int]]],
        length: int,
        first: int = 0,
        ranks: Sequence[Sequence[int]] | None = None,
    ) -> SegmentLayout:
        """Return the layout of a row.

        A group of one segment has nothing to interchange; its columns are ordinary text.

        Args:
            segments: for each group, the columns ``(start, stop)`` of its segments.
            length: columns of the row, padding on the left included.
            first: first column that is no padding.
            ranks: for each group, a number a segment that orders equally important ones, the
                higher the closer to the query: a function of what is in them, for the result not to
                depend on prompt order even then. None: prompt order.

        Raises:
            UserError: a segment is empty, out of order or range, or away from its neighbour.
        """
        if not 0 <= first <= length:
            raise UserError(f"first column {first} is outside 0..{length}; give the padding's end")
        blocks: list[Block] = []
        place = first
        for group, spans in enumerate(segments):
            for index, (start, stop) in enumerate(spans):
                _check(f"segment {index} of group {group}", start, stop, place, length, index > 0)
                if len(spans) > 1:
                    if start > place:
                        _text(blocks, place, start)
                    rank = 0 if ranks is None else ranks[group][index]
                    blocks.append(Block(start, stop, group, index, rank))
                else:
                    _text(blocks, place, stop)
                place = stop
        _text(blocks, place, length)
        return cls(tuple(blocks))

    def covering(self, length: int) -> SegmentLayout:
        """Return the layout of the row when it has so many columns.

        Raises:
            UserError: the segments are not all there yet.
        """
        last = self.blocks[-1]
        if length < last.start:
            raise UserError(
                f"the row has {length} columns but its segments end at column {last.start}; "
                "read the prompt in one piece"
            )
        return SegmentLayout((*self.blocks[:-1], replace(last, stop=length)))

    @property
    def groups(self) -> tuple[tuple[Block, ...], ...]:
        """The segments of each group of two or more, in the order of columns."""
        found: dict[int, list[Block]] = {}
        for block in self.blocks:
            if block.group is not None:
                found.setdefault(block.group, []).append(block)
        return tuple(tuple(group) for group in found.values())


def _text(blocks: list[Block], start: int, stop: int) -> None:
    """Append text, as part of text that ends there."""
    if blocks and blocks[-1].group is None:
        blocks[-1] = replace(blocks[-1], stop=stop)
    else:
        blocks.append(Block(start, stop))


def _check(name: str, start: int, stop: int, place: int, length: int, follows: bool) -> None:
    columns = f"columns {start}..{stop}"
    if stop <= start:
        raise UserError(f"{name} is empty ({columns}); leave it out or give it text")
    if start < place:
        raise UserError(
            f"{name} ({columns}) starts before column {place}, in padding or in the segment before "
            "it; give segments in order and without overlap"
        )
    if follows and start > place:
        raise UserError(
            f"{name} ({columns}) does not follow its neighbour, which ends at column {place}; "
            "make what lies between part of a segment"
        )
    if stop > length:
        raise UserError(f"{name} ({columns}) ends after the row's {length} columns; cut it")

"""What the queries of a block see: spans of keys, and how far the query turns towards each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.rotation import Rotation, undo
from lmms_causal.kernels.segments.importance import (
    segment_importance,
    token_importance,
    unrotated_keys,
)
from lmms_causal.kernels.segments.layout import Block, SegmentLayout
from lmms_causal.kernels.segments.placement import Order, Placement, settled, shifts

__all__ = ["Row", "Span", "Visible", "spans"]

Visible = Literal["mutual", "own"]
Turn = int | Tensor


@dataclass(frozen=True)
class Span:
    """Keys that move together.

    Attributes:
        start, stop: columns.
        turn: positions that the query turns by; a tensor ``[H, m or 1]`` where heads or queries
            differ.
        causal: whether the span ends at the last query and each query sees no further than itself.
    """

    start: int
    stop: int
    turn: Turn
    causal: bool = False


@dataclass(frozen=True)
class Row:
    """The arguments of a call of ``segment_attention``, which explains them."""

    q: Tensor
    k: Tensor
    v: Tensor
    layout: SegmentLayout
    positions: Tensor
    rotation: Rotation
    scale: float
    first_query: int
    order: Order
    visible: Visible
    softcap: float | None
    window: int | None
    unrotated: Tensor | None

    @cached_property
    def groups(self) -> tuple[tuple[Block, ...], ...]:
        """The segments of each group."""
        return self.layout.groups

    @cached_property
    def places(self) -> list[Placement]:
        """Where each group's segments are."""
        return [Placement.of(group, self.positions) for group in self.groups]

    @cached_property
    def k0(self) -> list[Tensor]:
        """Each group's keys without rotary embedding ``[H_k, S, d]``."""
        every = self.unrotated
        if every is None:
            every = unrotated_keys(self.k, self.layout, self.positions, self.rotation)
        sizes = [group[-1].stop - group[0].start for group in self.groups]
        if every.shape[1] != sum(sizes):
            raise UserError(
                f"unrotated has {every.shape[1]} keys but the segments {sum(sizes)} columns; "
                "pass unrotated_keys(...) of the same layout"
            )
        return list(every.split(sizes, 1))

    def queries(self, start: int, stop: int) -> Tensor:
        """Return the queries ``[H, stop - start, d]`` of these columns."""
        return self.q[:, start - self.first_query : stop - self.first_query]

    def q0(self, start: int, stop: int) -> Tensor:
        """Return these queries without rotary embedding."""
        return undo(self.queries(start, stop), self.positions[..., start:stop], self.rotation)


def spans(row: Row, block: Block, start: int) -> list[Span]:
    """Return what the columns ``start .. block.stop - 1`` of a block see, in order of columns.

    Raises:
        UserError: the order needs all of a segment's queries and some came in an earlier call.
    """
    seen: list[Span] = []
    groups = [number for number, group in enumerate(row.groups) if group[0].start < block.stop]
    inside = block.group is not None
    lead = 0  # how far the query itself moves
    if inside and row.order != "sequential":
        lead = row.places[groups[-1]].stacked(block.index)
    q0 = None
    place = row.layout.blocks[0].start
    for number in groups:
        group = row.groups[number]
        if place < group[0].start:
            seen.append(Span(place, group[0].start, lead))
        place = group[-1].stop
        if inside and number == groups[-1]:
            moves = _moves_inside(row, number, block, start)
        elif row.order in ("sequential", "stacked"):
            moves = _fixed(row, number)
        else:
            q0 = row.q0(start, block.stop) if q0 is None else q0
            moves = _moves_after(row, number, q0)
        seen += [
            Span(segment.start, segment.stop, lead - move)
            for segment, move in zip(group, moves, strict=True)
            if not (inside and segment.group == block.group)
            or (row.visible == "mutual" and segment.index != block.index)
        ]
    seen.append(Span(block.start, block.stop, 0, causal=True))
    return _joined(sorted(seen, key=lambda span: span.start))


def _fixed(row: Row, number: int) -> list[Turn]:
    """Moves where the order is not by importance."""
    place = row.places[number]
    if row.order == "sequential":
        return [0] * len(place.starts)
    return [place.stacked(index) for index in range(len(place.starts))]


def _moves_after(row: Row, number: int, q0: Tensor) -> list[Turn]:
    """Moves of a group's segments for queries after it, each with an order of its own."""
    group, place = row.groups[number], row.places[number]
    importance = token_importance(
        q0, row.k0[number], _lengths(group), scale=row.scale, softcap=row.softcap
    )
    importance = settled(importance, group, row.q.dtype)
    moves = place.moves(shifts(importance, place.extents, reverse=row.order == "reverse"))
    return list(moves.unbind(-1))


def _moves_inside(row: Row, number: int, block: Block, start: int) -> list[Turn]:
    """Moves of a group's segments for the tokens of one of them, whose order they share."""
    group, place = row.groups[number], row.places[number]
    if row.order in ("sequential", "stacked") or row.visible == "own":
        return _fixed(row, number)
    if len(group) == 2:  # there is only one order with its own segment first
        return [
            place.stacked(index) - (index != block.index) * place.extents[block.index]
            for index in range(2)
        ]
    if start > block.start:
        raise UserError(
            f"segment {block.index} of group {block.group} (columns {block.start}..{block.stop}) "
            f"is read from column {start}; read the prompt in one piece"
        )
    importance = segment_importance(
        row.q0(start, block.stop),
        row.k0[number],
        _lengths(group),
        block.index,
        scale=row.scale,
        softcap=row.softcap,
    )
    importance = settled(importance, group, row.q.dtype)
    order = shifts(importance, place.extents, block.index, row.order == "reverse")
    return [move.unsqueeze(-1) for move in place.moves(order).unbind(-1)]


def _lengths(group: Sequence[Block]) -> list[int]:
    return [len(block) for block in group]


def _joined(seen: list[Span]) -> list[Span]:
    """Join neighbours towards which the query turns equally far: fewer calls of a kernel."""
    joined = seen[:1]
    for span in seen[1:]:
        last = joined[-1]
        same = isinstance(last.turn, int) and isinstance(span.turn, int) and last.turn == span.turn
        if same and last.stop == span.start and not last.causal:
            joined[-1] = replace(last, stop=span.stop, causal=span.causal)
        else:
            joined.append(span)
    return joined

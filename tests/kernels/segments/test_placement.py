"""Where segments go: the worked numbers of the paper, ties, and positions of several axes."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.kernels.segments import Placement, SegmentLayout, shifts


def test_worked_shifts() -> None:
    """Reference example: one token of prefix, lengths 2, 3, 1, importance .2, .5, .3."""
    importance = torch.tensor([0.2, 0.5, 0.3])
    assert shifts(importance, (2, 3, 1)).tolist() == [4, 0, 3]
    assert shifts(importance, (2, 3, 1), own=0).tolist() == [0, 2, 5]
    assert shifts(importance, (2, 3, 1), reverse=True).tolist() == [0, 3, 2]
    layout = SegmentLayout.of([[(1, 3), (3, 6), (6, 7)]], 8)
    place = Placement.of(layout.groups[0], torch.arange(8))
    assert (place.starts, place.extents, place.end) == ((1, 3, 6), (2, 3, 1), 7)
    moves = place.moves(shifts(importance, place.extents)).tolist()
    assert [start + move for start, move in zip(place.starts, moves, strict=True)] == [1, 4, 3]


@pytest.mark.parametrize(
    ("importance", "starts"), [((0.2, 0.5, 0.3), (3, 10, 6)), ((0.3, 0.5, 0.2), (7, 10, 3))]
)
def test_worked_layout_covers_the_region_once(importance, starts) -> None:
    """Prefix 3, lengths 3, 5, 4, query at 15: D1 at 10..14, D0 at 7..9, D2 at 3..6, say."""
    layout = SegmentLayout.of([[(3, 6), (6, 11), (11, 15)]], 16)
    place = Placement.of(layout.groups[0], torch.arange(16))
    moves = place.moves(shifts(torch.tensor(importance), place.extents)).tolist()
    moved = [start + move for start, move in zip(place.starts, moves, strict=True)]
    assert tuple(moved) == starts
    taken = [at + t for at, extent in zip(moved, place.extents, strict=True) for t in range(extent)]
    assert sorted(taken) == list(range(3, 15))


def test_equal_importance_keeps_the_order_of_the_prompt() -> None:
    assert shifts(torch.zeros(4), (1, 2, 3, 4)).tolist() == [0, 1, 3, 6]
    assert shifts(torch.zeros(4), (1, 2, 3, 4), own=2).tolist() == [3, 4, 0, 6]
    assert shifts(torch.zeros(4), (1, 2, 3, 4), reverse=True).tolist() == [0, 1, 3, 6]
    assert shifts(torch.tensor([0.0, 1.0, 0.0]), (4, 4, 4)).tolist() == [4, 0, 8]


def test_the_end_of_a_row_without_text_after_is_the_next_position_of_any_axis() -> None:
    layout = SegmentLayout.of([[(0, 2), (2, 6)]], 6)
    places = torch.tensor([[0, 1, 2, 2, 2, 2], [0, 1, 2, 2, 3, 3], [0, 1, 2, 4, 2, 4]])
    place = Placement.of(layout.groups[0], places)
    assert (place.extents, place.end) == ((2, 3), 5)


def test_positions_that_stand_still_are_refused() -> None:
    layout = SegmentLayout.of([[(0, 2), (2, 6)]], 8)
    with pytest.raises(UserError, match="positions that grow"):
        Placement.of(layout.groups[0], torch.zeros(8, dtype=torch.long))

"""Layouts of text and segments: blocks in order, and the calls that make none."""

from __future__ import annotations

import pytest

from lmms_causal.errors import UserError
from lmms_causal.kernels.segments import Block, SegmentLayout


def test_blocks_cover_the_row_and_the_last_one_grows() -> None:
    layout = SegmentLayout.of([[(3, 5), (5, 6)], [(6, 8)], [(9, 10), (10, 12)]], 12, first=2)
    assert layout.blocks == (
        Block(2, 3),
        Block(3, 5, 0, 0),
        Block(5, 6, 0, 1),
        Block(6, 9),  # one segment has nothing to interchange
        Block(9, 10, 2, 0),
        Block(10, 12, 2, 1),
        Block(12, 12),
    )
    assert layout.groups == (layout.blocks[1:3], layout.blocks[4:6])
    assert layout.covering(15).blocks == (*layout.blocks[:-1], Block(12, 15))
    with pytest.raises(UserError, match="in one piece"):
        layout.covering(11)


@pytest.mark.parametrize(
    ("groups", "length", "first", "message"),
    [
        ([[(2, 2), (2, 4)]], 6, 0, "segment 0 of group 0 is empty"),
        ([[(2, 4), (5, 6)]], 6, 0, "segment 1 of group 0 .* does not follow its neighbour"),
        ([[(2, 4), (3, 6)]], 6, 0, "segment 1 of group 0 .* starts before column 4"),
        ([[(4, 6)], [(1, 2)]], 6, 0, "segment 0 of group 1 .* starts before column 6"),
        ([[(2, 4), (4, 9)]], 6, 0, "segment 1 of group 0 .* ends after the row's 6"),
        ([[(1, 3), (3, 4)]], 6, 2, "segment 0 of group 0 .* starts before column 2"),
        ([], 6, 7, "first column 7"),
    ],
)
def test_layouts_that_cannot_be(groups, length, first, message) -> None:
    with pytest.raises(UserError, match=message) as raised:
        SegmentLayout.of(groups, length, first)
    assert "\n" not in str(raised.value)

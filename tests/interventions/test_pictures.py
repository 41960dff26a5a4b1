"""Masks, regions and crops, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lmms_causal.interventions import pictures
from lmms_causal.testing import picture

S = np.array([[1, 1, 0, 0], [1, 0, 0, 5], [0, 0, 0, 6], [2, 0, 0, 0]], dtype=float)


def test_regions_touch_along_sides_and_the_largest_sums_are_kept():
    # above the quantile 0.75, which is 1: three regions with sums 3, 11 and 2
    one = pictures.strongest_regions(S, 0.25, 1)
    assert np.argwhere(one).tolist() == [[1, 3], [2, 3]]
    assert pictures.bounding_box(one) == (3, 1, 4, 3)
    two = pictures.strongest_regions(S, 0.25, 2)
    assert two.sum() == 5 and not two[3, 0]
    assert (pictures.strongest_regions(S, 0.25, 3) == (S > 0)).all()


def test_a_share_of_many_regions_counts_more_than_their_least_number():
    board = np.indices((8, 8)).sum(axis=0) % 2 * np.arange(1.0, 65).reshape(8, 8)
    kept = pictures.strongest_regions(board, 0.5, 3)  # 32 single cells, of which int(32 * 0.5)
    assert np.sort(board[kept]).tolist() == np.sort(board[board > 0])[16:].tolist()


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_constant_map_keeps_everything_although_stretching_rounds(share):
    stretched = pictures.stretched(np.full((7, 5), 1 / 3), (53, 31))
    assert stretched.shape == (31, 53)
    assert pictures.strongest_regions(stretched, share, 1).all()


def test_the_whole_picture_comes_back_as_it_is():
    shown = picture(1)
    mask = pictures.strongest_regions(pictures.stretched(S, shown.size), 1.0, 1)
    box = pictures.bounding_box(mask)
    assert mask.all() and pictures.widened(box, shown.size) == box
    assert pictures.enlarged(pictures.blacked_out(shown, mask), box) == shown


def test_a_similarity_of_two_fifths_keeps_four_fifths_of_the_pixels():
    ratio = pictures.keep_ratio(0.4)
    assert ratio == 0.8
    values = np.random.default_rng(0).permutation(384 * 384).reshape(384, 384)
    # those above rank 117964 of 147456, counted from 0, and the one at it
    assert pictures.keep_strongest(values, ratio).sum() == 117964 + 1
    assert pictures.keep_strongest(values, ratio)[values == values.max()].all()


@pytest.mark.parametrize(("similarity", "ratio"), [(1, 0.5), (0, 1 - 1e-5), (-0.3, 1 - 1e-5)])
def test_a_better_match_keeps_less(similarity, ratio):
    assert pictures.keep_ratio(similarity) == ratio


def test_a_constant_heat_map_keeps_all_pixels():
    heat = pictures.relevance(np.full((24, 24), 0.7), 384)
    assert not heat.any()
    assert pictures.keep_strongest(heat, 0.5).all()


def test_relevance_is_smooth_in_unit_range_and_highest_over_its_peak():
    values = np.zeros((24, 24))
    values[5, 17] = 1
    heat = pictures.relevance(values, 384)
    assert (heat.min(), heat.max()) == (0, 1)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (row // 16, column // 16) == (5, 17)


def test_masked_pixels_are_black_and_the_others_untouched():
    shown = picture(2, 40, 20)
    mask = np.zeros((2, 2), dtype=bool)
    mask[0, 1] = True
    masked = np.asarray(pictures.blacked_out(shown, mask))
    assert (masked[:10, 20:] == np.asarray(shown)[:10, 20:]).all()
    assert not masked[10:].any() and not masked[:, :20].any()


@pytest.mark.parametrize("box", [(0, 0, 20, 10), (33, 5, 40, 30), (2, 3, 3, 4)])
def test_an_enlarged_crop_keeps_its_shape_and_is_no_smaller_than_the_picture(box):
    shown = picture(2, 50, 38)
    large = pictures.enlarged(shown, box)
    width, height = box[2] - box[0], box[3] - box[1]
    factor = max(50 / width, 38 / height)
    assert large.size == (round(width * factor), round(height * factor))
    assert large.width >= 50 and large.height >= 38


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((799, 0, 800, 400), (700, 0, 800, 400)),  # a sliver at the edge: an eighth, inside
        ((100, 7, 500, 8), (100, 0, 500, 25)),
        ((10, 10, 20, 15), (10, 10, 20, 15)),  # small, but of the picture's shape
        ((0, 0, 800, 400), (0, 0, 800, 400)),
    ],
)
def test_only_a_very_narrow_box_is_widened(box, expected):
    assert pictures.widened(box, (800, 400)) == expected


def test_a_picture_in_any_mode_is_taken():
    grey = Image.new("L", (6, 4), 90)
    assert pictures.blacked_out(grey, np.ones((4, 6), dtype=bool)) == grey.convert("RGB")

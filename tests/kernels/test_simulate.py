"""The simulator against its published conclusions, and against tiles counted one by one."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns import Causal, Context, Full
from lmms_causal.kernels.patterns.window import SlidingWindow
from lmms_causal.kernels.simulate import axis_tiles, simulate, simulate_neighborhood


def keys_of(query: int, length: int, kernel: int, stride: int, dilation: int, causal: bool):
    """The window of one query on one axis, as the definition of GNA says it, in coordinates."""
    group, t = query % dilation, query // dilation
    members = -(-(length - group) // dilation)
    if causal:
        lead = min(t // stride * stride + stride - 1, members - 1)
        return [group + dilation * u for u in range(max(lead - kernel + 1, 0), t + 1)]
    lead = min(t // stride * stride + stride // 2, members - 1)
    left = kernel // 2
    right = kernel // 2 - (1 if kernel % 2 == 0 else 0)
    centre = max(left, min(lead, members - 1 - right))
    return [group + dilation * u for u in range(centre - left, centre + right + 1)]


def counted(length, kernel, stride, dilation, causal, q_tile, kv_tile):
    """Tiles, pairs and whether no mask is needed, by looking at every pair."""
    visited, pairs, dense = 0, 0, True
    for group in range(dilation):
        members = range(group, length, dilation)
        for start in range(0, len(members), q_tile):
            queries = members[start : start + q_tile]
            windows = [set(keys_of(i, length, kernel, stride, dilation, causal)) for i in queries]
            pairs += sum(map(len, windows))
            for column in range(0, len(members), kv_tile):
                tile = set(members[column : column + kv_tile])
                if any(window & tile for window in windows):
                    visited += 1
                    dense = dense and all(window >= tile for window in windows)
    return visited, pairs, dense


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_axis_is_what_counting_every_pair_gives(data):
    length = data.draw(st.integers(1, 40))
    dilation = data.draw(st.integers(1, min(4, length)))
    kernel = data.draw(st.integers(1, length // dilation))
    stride = data.draw(st.integers(1, kernel))
    causal = data.draw(st.booleans())
    q_tile, kv_tile = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    given_ = (length, kernel, stride, dilation, causal, q_tile, kv_tile)
    found = axis_tiles(*given_)
    visited, pairs, dense = counted(*given_)
    assert (found.visited, found.pairs, found.dense) == (visited, pairs, dense)


@pytest.mark.parametrize("q_tile", [128, 256])
def test_the_smallest_stride_that_needs_no_mask_is_256(q_tile):
    """NATTEN's documentation says so of 32768 tokens and a window of 2048."""
    perfect = [
        stride
        for stride in (1, 32, 64, 96, 128, 192, 255, 256)
        if simulate_neighborhood([32768], 2048, stride, q_tile=q_tile, kv_tile=128).perfect
    ]
    assert perfect == [256]


@pytest.mark.parametrize(
    "grid, kernel, stride, q_tile, kv_tile, bound, perfect",
    [
        ((32768,), 2048, 1, 256, 128, 14.3, False),
        ((32768,), 2048, 256, 256, 128, 16.0, True),
        ((256, 256), 80, 1, (16, 8), (16, 8), 7.5, False),
        ((256, 256), 80, 1, (16, 16), (16, 8), 7.1, False),
        ((256, 256), 80, 16, (16, 16), (16, 8), 10.24, True),
        ((30, 48, 80), (18, 24, 24), 1, (2, 8, 8), (2, 8, 8), 5.4, False),
        ((30, 48, 80), (18, 24, 24), (16, 8, 8), (2, 8, 8), (2, 8, 8), 11.1, True),
        ((30, 48, 80), (18, 24, 24), (16, 8, 8), (4, 8, 8), (2, 8, 8), 11.1, True),
    ],
)
def test_bounds_of_published_cases(grid, kernel, stride, q_tile, kv_tile, bound, perfect):
    report = simulate_neighborhood(grid, kernel, stride, q_tile=q_tile, kv_tile=kv_tile)
    assert report.tile_bound == pytest.approx(bound, abs=0.05)
    assert report.perfect is perfect
    window = math.prod((kernel,) * len(grid) if isinstance(kernel, int) else kernel)
    assert report.flop_bound == pytest.approx(math.prod(grid) / window)
    assert report.tile_bound <= report.flop_bound * (1 + 1e-9)


@pytest.mark.parametrize(
    "kernel, stride, dilation, sparsity",
    [
        ((4, 16), 1, (11, 5), 0.98),
        ((12, 16), (4, 1), (1, 5), 0.95),
        ((12, 24), (4, 8), 1, 0.92),
        ((20, 40), (4, 8), 1, 0.77),
        ((28, 56), (4, 8), 1, 0.55),
    ],
)
def test_configurations_of_a_video_model_need_no_masks(kernel, stride, dilation, sparsity):
    report = simulate_neighborhood(
        (44, 80), kernel, stride, dilation, q_tile=(4, 8), kv_tile=(4, 8)
    )
    assert report.perfect and report.waste == pytest.approx(1)
    assert 1 - 1 / report.flop_bound == pytest.approx(sparsity, abs=0.006)


def test_tiles_of_a_window_are_one_more_than_its_keys_fill():
    """256 keys fill 4 tiles of 64 and touch 5: the 1.25 that a kernel of such tiles is held to."""
    context = Context(8192, 8192, heads=8, kv_heads=8)
    report = simulate(SlidingWindow(256), context)
    inner = sum(min(5, row + 1) for row in range(128))
    assert report.visited == 8 * inner
    assert report.partial == 8 * (128 + 124)  # the diagonal, and the far edge where there is one
    assert report.waste == pytest.approx(1.25, abs=0.03)
    assert report.causal == 8 * 128 * 129 // 2
    assert report.causal_bound == pytest.approx(128 * 129 / 2 / inner)


def test_full_attention_bounds_nothing_and_causal_attention_at_most_two():
    for m, n in ((512, 512), (100, 1000), (1, 77)):
        context = Context(m, n, heads=4, kv_heads=2)
        report = simulate(Full(), context)
        assert report.tile_bound == report.flop_bound == 1 and report.perfect
        causal = simulate(Causal(), context)
        assert causal.causal_bound == 1 and 1 <= causal.tile_bound < 2
        assert causal.rows == 4 * m and causal.full_pairs == 4 * m * n


def test_a_whole_axis_dilated_is_blocks_of_its_groups():
    report = simulate_neighborhood([64], 16, 1, 4, q_tile=16, kv_tile=16)
    assert (report.visited, report.full, report.perfect) == (4, 16, True)


@pytest.mark.parametrize(
    "options, named",
    [
        ({"kernel": 9, "dilation": 1}, "kernel=9"),
        ({"kernel": 3, "dilation": 3}, "dilation=3"),
        ({"kernel": 3, "stride": 4}, "stride=4"),
        ({"kernel": 0}, "kernel=0"),
        ({"kernel": (3, 3)}, "2 numbers"),
    ],
)
def test_what_a_grid_cannot_have_is_refused_in_one_line(options, named):
    with pytest.raises(UserError, match=named) as caught:
        simulate_neighborhood([8], q_tile=4, kv_tile=4, **options)
    assert "\n" not in str(caught.value)


def test_axes_multiply():
    axes = [axis_tiles(12, 5, 1, 1, False, 4, 2), axis_tiles(9, 3, 1, 1, True, 2, 3)]
    report = simulate_neighborhood(
        (12, 9), (5, 3), causal=(False, True), q_tile=(4, 2), kv_tile=(2, 3)
    )
    assert report.visited == axes[0].visited * axes[1].visited
    windows = [
        [keys_of(i, 12, 5, 1, 1, False) for i in range(12)],
        [keys_of(i, 9, 3, 1, 1, True) for i in range(9)],
    ]
    both = sum(len(a) * len(b) for a, b in itertools.product(*windows))
    assert report.pairs == both

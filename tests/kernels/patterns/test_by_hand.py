"""Small cases written out, and numbers of pairs in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns import (
    S2,
    AttentionPattern,
    Causal,
    Concentric,
    Context,
    Custom,
    Dilated,
    Document,
    Full,
    LongNet,
    ModalityMutual,
    Neighborhood,
    PowerOfTwo,
    Prefix,
    Rectangle,
    Region,
    Segments,
    SlidingWindow,
    StrideSlash,
    pairs,
    ranges_where,
    tile_plan,
)
from lmms_causal.kernels.patterns.concentric import rings
from lmms_causal.kernels.patterns.tiles import allowed_block


def _keys(pattern: AttentionPattern, context: Context, i: int, h: int = 0) -> list[int]:
    """What a query sees."""
    at = torch.tensor(h), torch.tensor(i), torch.arange(context.keys)
    return pattern.allowed(context, *at).nonzero().squeeze(1).tolist()


def _numbers(text: str) -> list[int]:
    """``0 1 4-6`` as 0, 1, 4, 5, 6."""
    found: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@pytest.mark.parametrize(
    ("head", "last", "ninth"),
    [
        (0, "0 1 8 9 12-15", "0 1 6-9"),
        (1, "6 7 12-15", "6-9"),
        (2, "4 5 12-15", "4-9"),
        (3, "2 3 10-15", "2 3 6-9"),
    ],
)
def test_s2_with_four_heads(head, last, ninth) -> None:
    pattern, context = S2(block=2, local=2, stride=4), Context(16, 16, heads=4, kv_heads=4)
    assert _keys(pattern, context, 15, head) == _numbers(last)
    assert _keys(pattern, context, 9, head) == _numbers(ninth)


def test_s2_heads_together_see_everything() -> None:
    context = Context(300, 300, heads=4, kv_heads=4)
    whole = allowed_block(Causal(), context)[0]
    assert torch.equal(allowed_block(S2(4, 2, 4), context).any(0), whole)
    # 4 heads in steps of 2 take only the even ones of 8 strides
    assert not torch.equal(allowed_block(S2(4, 2, 8), context).any(0), whole)
    assert torch.equal(allowed_block(S2(4, 2, 8, dense=1), context).any(0), whole)


def test_s2_shares_a_pattern_in_a_group_and_drops_keys_for_good() -> None:
    context = Context(96, 96, heads=8, kv_heads=4)
    of = S2(4, 2, 4)
    assert of.planes(context) == 4
    for h in range(8):
        assert _keys(of, context, 95, h) == _keys(of, context, 95, h // 2 * 2)
    mask = allowed_block(of, context)
    for q in range(8, 96):  # what is seen beyond the window was seen by all queries after it
        far = mask[:, q, : q - 8 - q % 4]
        assert not (far & ~mask[:, q - 1, : far.shape[1]]).any()


def test_s2_relative_counts_from_the_query() -> None:
    """By hand: the window's last block is 1 from the query, the next that is seen 2 + 3 - 1."""
    of, context = S2(1, 2, 3, relative=True), Context(12, 12, heads=2, kv_heads=2)
    assert _keys(of, context, 6) == [2, 5, 6, 7, 10]
    assert _keys(of, context, 0) == [0, 1, 4, 7, 10]
    assert of.planes(context) == 1


@pytest.mark.parametrize(
    ("pattern", "count", "seen"),
    [
        (PowerOfTwo(1, 1, 0), 65, {8: "0 4 6-8", 12: "4 8 10-12", 15: "7 11 13-15"}),
        (
            PowerOfTwo(1, 1, 1),
            76,
            {3: "0-3", 5: "0 1 3-5", 8: "0 4 6-8", 12: "0 4 8 10-12", 15: "0 7 11 13-15"},
        ),
        (PowerOfTwo(2, 2, 1), 108, {7: "0-7", 15: "0 1 6 7 10-15"}),
        (SlidingWindow(4), 58, {2: "0-2", 15: "12-15"}),
        (SlidingWindow(3, sink=2), 16 * 17 // 2 - 13 * 14 // 2 + 13 + 12, {15: "0 1 13-15"}),
        (StrideSlash(2, 1, 3, 1), None, {15: "0-3 8 9 14 15"}),
        (Dilated(2, 6, 2), None, {15: "6 7 10 11 14 15"}),
        (LongNet(1, (2, 4, 8)), None, {12: "8 12", 14: "12 14", 15: "14 15", 7: "6 7"}),
        (Prefix(5), 136 + 10, {0: "0-4", 9: "0-9"}),
        (Document((5, 4)), 15 + 10 + 28, {4: "0-4", 5: "5", 15: "9-15"}),
    ],
    ids=str,
)
def test_sixteen_tokens(pattern, count, seen) -> None:
    context = Context(16, 16)
    for query, keys in seen.items():
        assert _keys(pattern, context, query) == _numbers(keys), query
    if count is not None:
        assert pairs(pattern, context) == count


def test_longnet_shifts_by_head() -> None:
    context = Context(16, 16, heads=4, kv_heads=4)
    assert _keys(LongNet(1, (2, 4)), context, 15, 1) == [13, 14, 15]
    assert _keys(LongNet(1, (2, 4)), context, 14, 1) == [14]


def test_receptive_fields() -> None:
    """What reaches token 15 through 1, 2, ... layers."""

    def reached(pattern: AttentionPattern) -> list[int]:
        once = allowed_block(pattern, Context(16, 16))[0].double()
        through = [torch.linalg.matrix_power(once, layers)[15] > 0 for layers in range(1, 5)]
        return [int(found.sum()) for found in through]

    assert reached(PowerOfTwo(1, 1, 0)) == [5, 11, 15, 16]
    assert reached(SlidingWindow(2)) == [2, 3, 4, 5]


@pytest.mark.parametrize(("n", "window", "density"), [(512, 256, 0.7495), (8192, 256, 0.06152)])
def test_pairs_of_a_window(n, window, density) -> None:
    plan = tile_plan(SlidingWindow(window), Context(n, n))
    assert plan.pairs == n * (n + 1) // 2 - (n - window) * (n - window + 1) // 2
    assert plan.density == pytest.approx(density, rel=1e-3)


@pytest.mark.parametrize(
    ("pattern", "n", "density"),
    [
        (PowerOfTwo(64, 5), 2048, 0.3890),
        (PowerOfTwo(64, 5), 4096, 0.2297),
        (PowerOfTwo(64, 5), 8192, 0.1316),
        (S2(64, 4, 8), 2048, 0.3065),
        (S2(64, 4, 8), 8192, 0.1723),
    ],
    ids=str,
)
def test_densities_at_length(pattern, n, density) -> None:
    """And the exact sum over rows of active blocks."""
    context = Context(n, n, heads=8, kv_heads=8)
    plan = tile_plan(pattern, context)
    assert plan.density == pytest.approx(density, abs=5e-4)
    b, total = pattern.block, 0
    blocks = n // b
    for g in range(8):
        for qb in range(blocks):
            if isinstance(pattern, S2):
                far = sum((kb + g) % 8 == 0 for kb in range(max(0, qb - 3)))
                active = min(4, qb + 1) + far
            else:
                active = sum(d < 5 or d & (d - 1) == 0 or d == qb for d in range(qb + 1))
            total += active * b * b - b * (b - 1) // 2
    assert plan.pairs == total


@pytest.mark.parametrize(("blocks", "last", "density"), [(128, 10, 0.138), (512, 12, 0.0428)])
def test_blocks_of_the_paper(blocks, last, density) -> None:
    """32k and 128k tokens in blocks of 256: active ones of the last row, and of all."""
    context = Context(blocks, blocks)
    assert len(_keys(PowerOfTwo(1), context, blocks - 1)) == last
    assert tile_plan(PowerOfTwo(1), context).density == pytest.approx(density, rel=3e-3)


def test_s2_densities_by_head() -> None:
    whole = 2048 * 2049 // 2
    found = [
        int(rows.sum()) / whole
        for rows in allowed_block(S2(64, 4, 8), Context(2048, 2048, heads=8, kv_heads=8))
    ]
    assert min(found) == pytest.approx(0.2836, abs=5e-5)
    assert max(found) == pytest.approx(0.3324, abs=5e-5)


_ONE_AXIS = """
k3 s1          | 0-2 | 0-2 | 1-3 | 2-4 | 3-5 | 4-6 | 5-7 | 5-7
k3 s2          | 0-2 | 0-2 | 2-4 | 2-4 | 4-6 | 4-6 | 5-7 | 5-7
k4 s1          | 0-3 | 0-3 | 0-3 | 1-4 | 2-5 | 3-6 | 4-7 | 4-7
k4 s2          | 0-3 | 0-3 | 1-4 | 1-4 | 3-6 | 3-6 | 4-7 | 4-7
k5 s3          | 0-4 | 0-4 | 0-4 | 2-6 | 2-6 | 2-6 | 3-7 | 3-7
k3 s1 causal   | 0 | 0 1 | 0-2 | 1-3 | 2-4 | 3-5 | 4-6 | 5-7
k3 s2 causal   | 0 | 0 1 | 1 2 | 1-3 | 3 4 | 3-5 | 5 6 | 5-7
k3 s1 d2       | 0 2 4 | 1 3 5 | 0 2 4 | 1 3 5 | 2 4 6 | 3 5 7 | 2 4 6 | 3 5 7
"""


@pytest.mark.parametrize("line", _ONE_AXIS.strip().splitlines(), ids=lambda line: line[:14].strip())
def test_neighborhoods_of_eight(line) -> None:
    name, *rows = line.split("|")
    numbers = {word[0]: int(word[1:]) for word in name.split() if word != "causal"}
    pattern = Neighborhood(
        (numbers["k"],), (numbers["s"],), (numbers.get("d", 1),), ("causal" in name,), grid=(8,)
    )
    context = Context(8, 8)
    assert [_keys(pattern, context, i) for i in range(8)] == [_numbers(row) for row in rows]


@pytest.mark.parametrize("stride", [1, 2])
def test_neighborhoods_of_four_by_four(stride) -> None:
    pattern, context = Neighborhood((3,), (stride,), grid=(4, 4)), Context(16, 16)
    assert _keys(pattern, context, 6) == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert _keys(pattern, context, 0) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert _keys(pattern, context, 15) == [5, 6, 7, 9, 10, 11, 13, 14, 15]


def _neighbours(length, k, s, d, causal, x) -> set[int]:
    """What a coordinate sees, written out from the definition."""
    group = list(range(x % d, length, d))
    t, last = x // d, len(group) - 1
    if causal:
        lead = min(t // s * s + s - 1, last)
        return {group[u] for u in range(max(lead - k + 1, 0), t + 1)}
    lead = min(t // s * s + s // 2, last)
    left = max(lead, k // 2) if lead <= last - (k - 1) // 2 else last - (k - 1) // 2
    return {group[u] for u in range(left - k // 2, left - k // 2 + k)}


@pytest.mark.parametrize(
    ("grid", "kernel", "stride", "dilation", "causal"),
    [
        ((13,), (5,), (2,), (2,), (False,)),
        ((13,), (4,), (3,), (3,), (True,)),
        ((6, 9), (3, 4), (2, 1), (1, 2), (False, False)),
        ((7, 8), (4, 5), (4, 3), (1, 1), (True, False)),
        ((4, 6, 5), (2, 3, 5), (1, 3, 2), (2, 1, 1), (True, False, False)),
        ((16, 16), (4, 4), (4, 4), (1, 1), (False, False)),  # attention in blocks
        ((32, 24), (5, 5), (1, 1), (4, 3), (False, False)),
    ],
)
@pytest.mark.parametrize("reorder", [True, False])
def test_neighborhoods_by_definition(grid, kernel, stride, dilation, causal, reorder, written):
    """As a whole sequence, and as a picture with text around it."""
    n = math.prod(grid)
    places = torch.cartesian_prod(*map(torch.arange, grid)).view(n, len(grid)).tolist()
    number = {tuple(place): index for index, place in enumerate(places)}
    expected = torch.zeros(n, n, dtype=torch.bool)
    for i, place in enumerate(places):
        axes = zip(grid, kernel, stride, dilation, causal, place, strict=True)
        seen = [torch.tensor(sorted(_neighbours(*axis))) for axis in axes]
        for other in torch.cartesian_prod(*seen).view(-1, len(grid)).tolist():
            expected[i, number[tuple(other)]] = True
    pattern = Neighborhood(kernel, stride, dilation, causal, grid)
    plan = tile_plan(pattern, Context(n, n), 64, 64, reorder)
    assert torch.equal(written.plan(plan)[0], expected)
    if not any(causal):
        assert plan.pairs == n * math.prod(kernel)
    inside = Context(n + 30, n + 30, regions=(Region("image", 11, 11 + n, grid),))
    around = allowed_block(Causal(), inside)[0].clone()
    around[11 : 11 + n, 11 : 11 + n] = expected
    plan = tile_plan(Neighborhood(kernel, stride, dilation, causal), inside, 64, 64, reorder)
    assert torch.equal(written.plan(plan)[0], around)


def test_an_order_fills_tiles() -> None:
    """Blocks of 8 x 8 patches are whole tiles in it, and nothing is left to look up."""
    pattern = Neighborhood((8,), (8,), grid=(64, 64))
    plan = tile_plan(pattern, Context(4096, 4096))
    assert (plan.visited, len(plan.bitmaps)) == (64, 0)
    assert tile_plan(pattern, Context(4096, 4096), reorder=False).visited == 512
    picture = Context(704, 704, regions=(Region("image", 35, 611, (24, 24)),))
    assert tile_plan(Concentric(), picture).visited < 90
    assert tile_plan(Concentric(), picture, reorder=False).visited == 111


def test_rings() -> None:
    ring = rings(24, 24, torch.arange(576))
    assert torch.bincount(ring).tolist() == list(range(92, 0, -8))
    assert rings(3, 5, torch.arange(15)).tolist() == [0] * 5 + [0, 1, 1, 1, 0] + [0] * 5
    context = Context(20, 20, regions=(Region("image", 2, 18, (4, 4)),))
    outer = _numbers("2-6 9 10 13-17")
    assert _keys(Concentric(), context, 2) == [0, 1, *outer]
    assert _keys(Concentric(), context, 7) == _numbers("0-17")
    assert _keys(Concentric(), context, 1) == [0, 1]
    assert _keys(Concentric(), context, 18) == _numbers("0-18")


def test_pictures_see_the_question() -> None:
    regions = (Region("image", 2, 4), Region("image", 6, 8), Region("question", 9, 11))
    context, of = Context(14, 14, regions=regions), ModalityMutual()
    assert _keys(of, context, 2) == _numbers("0-2 4 5 8-10")  # not the other picture
    assert _keys(of, context, 6) == _numbers("0-6 8-10")
    assert _keys(of, context, 9) == _numbers("0-9")
    assert _keys(of, context, 13) == _numbers("0-13")
    first = (Region("question", 0, 2), Region("image", 3, 5))
    assert pairs(of, Context(14, 14, regions=first)) == 14 * 15 // 2


def test_segments() -> None:
    regions = tuple(Region("segment", *at) for at in [(1, 3), (3, 6), (7, 8), (8, 10)])
    context = Context(11, 11, regions=regions)
    own, mutual = Segments("own"), Segments("mutual")
    assert _keys(own, context, 4) == [0, 3, 4]
    assert _keys(mutual, context, 1) == _numbers("0 1 3-5")
    assert _keys(mutual, context, 4) == _numbers("0-4")
    assert _keys(own, context, 9) == _numbers("0-6 8 9")  # another group is seen
    assert _keys(mutual, context, 7) == _numbers("0-9")
    assert _keys(own, context, 10) == _keys(mutual, context, 10) == _numbers("0-10")


def test_rectangles_open_and_close() -> None:
    context = Context(8, 8, heads=4, kv_heads=2)
    opened = Causal() | Rectangle(rows=((1, 3),), keys=((5, 7),), heads=((2, 3),))
    assert opened.planes(context) == 4
    assert _keys(opened, context, 1, 2) == [0, 1, 5, 6]
    assert _keys(opened, context, 1, 3) == [0, 1]
    closed = Causal() - Rectangle(keys=((0, 2),), heads=((2, 4),))
    assert closed.planes(context) == 2
    assert _keys(closed, context, 3, 3) == [2, 3]
    assert _keys(closed, context, 1, 2) == []
    assert (Causal() - Rectangle(rows=((3, 4),))).planes(context) == 1
    chosen = torch.tensor([True, True, False, True])
    assert ranges_where(chosen) == ((0, 2), (3, 4))


def test_a_mask_function_of_flex_attention() -> None:
    pattern = Custom(lambda b, h, i, j: (i - j).abs() % 3 == 0) & Causal()
    assert _keys(pattern, Context(8, 8), 7) == [1, 4, 7]
    with pytest.warns(UserWarning, match="all 9000 x 9000 pairs"):
        Custom(lambda b, h, i, j: i >= j).check(Context(9000, 9000))


_PICTURE = Context(80, 80, regions=(Region("image", 4, 68, (8, 8)), Region("film", 4, 12)))


@pytest.mark.parametrize(
    ("make", "context", "says"),
    [
        (lambda: SlidingWindow(0), None, "window=0 must be 1 or more"),
        (lambda: S2(dense=1, same=True), None, "leaves no head"),
        (lambda: S2(dense=3), Context(8, 8, heads=2, kv_heads=2), "take fewer"),
        (lambda: LongNet(segments=(4, 6)), None, "multiples of the first"),
        (lambda: Neighborhood((3,)), Context(8, 8), "no region 'image'; give one"),
        (lambda: Neighborhood((3,), inside="film"), _PICTURE, "has 0 axes"),
        (
            lambda: Neighborhood((9,)),
            _PICTURE,
            "kernel 9 with dilation 1 does not fit an axis of 8",
        ),
        (lambda: Neighborhood((3,), dilation=(3,)), _PICTURE, "dilation 3 does not fit"),
        (lambda: Neighborhood((3, 3, 3)), _PICTURE, "kernel=3x3x3 for a region of 8x8"),
        (lambda: Neighborhood((3,), (4,)), _PICTURE, "stride 4 is more than kernel 3"),
        (lambda: Neighborhood((3,), grid=(5, 5)), Context(8, 8), "25 places and the sequence 8"),
        (Concentric, Context(8, 8), "no region 'image'"),
        (lambda: Concentric("film"), _PICTURE, "rings need rows and columns"),
        (ModalityMutual, _PICTURE, "no region 'question'"),
        (Segments, _PICTURE, "declare its segments"),
        (lambda: Segments("both"), None, "neither own nor mutual"),
        (Document, _PICTURE, "or their lengths"),
        (Prefix, _PICTURE, "or a length=TOKENS"),
        (lambda: Rectangle(rows=((3, 3),)), None, "rows=3:3 is empty"),
        (lambda: Rectangle(heads=((0, 9),)), Context(8, 8, heads=8), "head 8 of 8"),
        (lambda: Full() & SlidingWindow(2) | Neighborhood((3,)), Context(8, 8), "no region"),
    ],
)
def test_errors_are_one_line_with_a_remedy(make, context, says) -> None:
    with pytest.raises(UserError) as error:
        make().check(context)
    assert says in str(error.value)
    assert "\n" not in str(error.value)

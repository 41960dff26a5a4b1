"""What is said of a pattern in several ways is the same: pairs, tiles, ranges of keys, numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns import (
    S2,
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
    key_ranges,
    parse_pattern,
    pattern_text,
    tile_plan,
)
from lmms_causal.kernels.patterns.base import ALL, NONE, Grid, representative
from lmms_causal.kernels.patterns.registry import entries

_few, _some = st.integers(1, 4), st.integers(0, 3)
_block = st.sampled_from([1, 2, 3, 8, 16])
_ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=3).map(
    lambda found: tuple((start, start + size) for start, size in found)
)


def _axes(rank: int, of: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(of.map(lambda one: (one,)), st.tuples(*[of] * rank))


@st.composite
def _neighborhood(draw: st.DrawFn) -> Neighborhood:
    return Neighborhood(
        draw(_axes(2, st.integers(1, 5))),
        draw(_axes(2, _few)),
        draw(_axes(2, _few)),
        draw(_axes(2, st.booleans())),
    )


def _odd(b: torch.Tensor, h: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    return (i * 7 + j * 3 + h + b) % 5 < 2


single = st.one_of(
    st.sampled_from(
        [Causal(), Full(), Concentric(), ModalityMutual(), Custom(_odd, "odd", "head")]
    ),
    st.builds(SlidingWindow, st.integers(1, 70), st.integers(0, 20)),
    st.builds(
        S2,
        _block,
        _few,
        st.integers(1, 9),
        st.one_of(st.none(), _some),
        _some,
        st.integers(0, 1),
        relative=st.booleans(),
    ),
    st.builds(S2, _block, _few, st.integers(1, 9), same=st.booleans()),
    st.builds(PowerOfTwo, _block, _few, _some),
    st.builds(StrideSlash, _block, _few, st.integers(1, 9), _some),
    st.builds(Dilated, _block, st.integers(1, 9), _few, _some),
    st.builds(
        lambda block, first, times: LongNet(block, (first, *(first * t for t in times))),
        _block,
        _few,
        st.lists(_few, max_size=3),
    ),
    _neighborhood(),
    st.builds(Prefix, st.integers(0, 70), st.sampled_from(["image", "segment"])),
    st.builds(Segments, st.sampled_from(["own", "mutual"])),
    st.builds(Document, st.lists(st.integers(1, 40), max_size=4).map(tuple), st.just("segment")),
    st.builds(
        Rectangle,
        st.one_of(st.none(), _ranges),
        st.one_of(st.none(), _ranges),
        st.sampled_from([None, ((0, 1),), ((0, 2),), ((2, 4),)]),
    ),
)
patterns = st.recursive(
    single,
    lambda inner: st.tuples(inner, inner, st.sampled_from("&|-")).map(
        lambda x: {"&": x[0] & x[1], "|": x[0] | x[1], "-": x[0] - x[1]}[x[2]]
    ),
    max_leaves=3,
)


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    """Prompts with up to two pictures, a question and segments; parts of them; any offset."""
    at = draw(st.integers(0, 20))
    regions = []
    for _ in range(draw(st.integers(1, 2))):
        rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        regions.append(Region("image", at, at + rows * columns, (rows, columns)))
        at += rows * columns + draw(st.integers(0, 5))
    regions.append(Region("question", at, at + draw(st.integers(1, 20))))
    at = regions[-1].stop
    for gap in draw(st.lists(st.sampled_from([0, 0, 4]), min_size=1, max_size=4)):
        regions.append(Region("segment", at + gap, at + gap + draw(st.integers(1, 15))))
        at = regions[-1].stop
    keys = max(1, at + draw(st.integers(-30, 20)))
    whole = draw(st.booleans())
    queries = keys if whole else draw(st.integers(1, keys))
    offset = (
        0
        if whole
        else draw(st.one_of(st.just(keys - queries), st.integers(0, keys), st.integers(-90, -2)))
    )
    heads, kv_heads = draw(st.sampled_from([(4, 4), (4, 2), (4, 1)]))
    return Context(queries, keys, offset, heads, kv_heads, tuple(regions))


@settings(max_examples=250, deadline=None)
@given(patterns, contexts(), st.integers(1, 70), st.sampled_from([8, 16, 40, 64]), st.booleans())
def test_all_that_is_said_agrees(written, pattern, context, q_tile, k_tile, reorder) -> None:
    try:
        pattern.check(context)
    except UserError:
        assume(False)
    dense = written.pattern(pattern, context)
    plan = tile_plan.__wrapped__(pattern, context, q_tile, k_tile, reorder)
    assert torch.equal(written.plan(plan), dense)
    assert plan.pairs == int(dense.sum())
    assert torch.equal(written.ranges(*key_ranges.__wrapped__(pattern, context), context), dense)

    # tiles are what their state says, in the order of the plan, whatever their members
    order = torch.arange(context.keys) if plan.order is None else plan.order
    rows = torch.arange(context.queries) + context.offset if plan.order is None else order
    rows, order = rows[: len(rows) // 3 * 3], order[: len(order) // 5 * 5]
    if not len(rows) or not len(order):
        return
    grid = Grid.of(rows.view(-1, 3), order.view(-1, 5))
    planes = pattern.planes(context)
    states = pattern.states(context, grid).expand(planes, len(rows) // 3, len(order) // 5)
    h = representative(context, planes)[:, None, None]
    found = pattern.allowed(context, h, rows[None, :, None], order[None, None])
    tiles = found.expand(planes, len(rows), len(order)).unflatten(1, (-1, 3)).unflatten(3, (-1, 5))
    assert not (tiles.any(2).any(-1) & (states == NONE)).any()
    assert not (~tiles.all(2).all(-1) & (states == ALL)).any()


@settings(max_examples=60, deadline=None)
@given(patterns, contexts(), st.data())
def test_parts_are_rows_of_the_whole(written, pattern, context, data) -> None:
    """Prompts read in pieces, and steps of decoding, see what one pass over all would."""
    whole = replace(context, queries=context.keys, offset=0)
    try:
        pattern.check(whole)
    except UserError:
        assume(False)
    dense = written.pattern(pattern, whole)
    first = data.draw(st.integers(0, context.keys - 1))
    count = data.draw(st.integers(1, context.keys - first))
    part = replace(context, queries=count, offset=first)
    plan = tile_plan.__wrapped__(pattern, part, 16, 16)
    assert torch.equal(written.plan(plan), dense[:, first : first + count])
    step = context.step(first)
    assert torch.equal(
        written.ranges(*key_ranges.__wrapped__(pattern, step), step), dense[:, first : first + 1]
    )


@settings(max_examples=100, deadline=None)
@given(patterns)
def test_text_is_read_back(pattern) -> None:
    if "odd" in str(pattern):
        with pytest.raises(UserError, match="none of that name"):
            parse_pattern(str(pattern))
        return
    assert parse_pattern(str(pattern)) == pattern
    assert parse_pattern(pattern_text(pattern, nested=True)) == pattern
    assert not set(pattern_text(pattern, nested=True)) & set("(),; ")


@pytest.mark.parametrize("reorder", [True, False])
@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_every_example(written, prompt, entry, reorder) -> None:
    """Those that newcomers add, too."""
    pattern = parse_pattern(entry.example)
    context = Context(200, 200, heads=4, kv_heads=2, regions=prompt)
    plan = tile_plan(pattern, context, 16, 16, reorder)
    assert torch.equal(written.plan(plan), written.pattern(pattern, context))
    assert str(parse_pattern(str(pattern))) == str(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        S2(16, 2, 4),
        PowerOfTwo(16, 2),
        SlidingWindow(32, 4),
        StrideSlash(16, 2, 4),
        LongNet(16, (2, 4)),
    ],
    ids=str,
)
def test_patterns_in_blocks_are_decided_by_their_tiles(pattern) -> None:
    """With tiles of their own blocks only the diagonal, and a window's edges, are looked up."""
    context = Context(640, 640, heads=4, kv_heads=4)
    tiles = torch.arange(640).view(-1, 16)
    states = pattern.states(context, Grid.of(tiles, tiles))
    unclear = states[:, torch.ones(40, 40).tril(-3).bool()] == 1
    allowance = 1 if isinstance(pattern, SlidingWindow) else 0  # the tiles of its sinks
    assert unclear.float().mean() <= 0.06 * allowance

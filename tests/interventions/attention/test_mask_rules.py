"""What the mask functions of transformers say, read and made again, is what they make."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from transformers import masking_utils as masks
from transformers.masking_utils import sdpa_mask

from lmms_causal.interventions.attention.mask_patterns import (
    Ahead,
    InBlock,
    Moved,
    NotBefore,
    SameChunk,
    Written,
)
from lmms_causal.interventions.attention.mask_rules import rule_of
from lmms_causal.interventions.attention.sight import Sight, seen
from lmms_causal.kernels.patterns import Causal, Context, tile_plan
from lmms_causal.kernels.patterns.tiles import allowed_block
from lmms_causal.kernels.patterns.window import SlidingWindow

BATCH = 3


def drawn(seed):
    """Arguments of a mask function: padding left and right, a cache before, keys forgotten."""
    draw = random.Random(seed)
    q_offset, queries = draw.choice([0, 0, 5, 21]), draw.choice([1, 2, 9, 17])
    end = q_offset + queries
    kv_offset = draw.choice([0, min(q_offset, 3)])
    padding = torch.zeros(BATCH, end, dtype=torch.bool)
    for row in padding:
        row[draw.choice([0, 0, 2, min(end - 1, 6)]) : draw.choice([end, end, max(1, end - 2)])] = 1
    ids = torch.full((BATCH, end + 4), -1)
    for row in ids:
        for block in range(draw.randint(0, 3)):
            row[block * 7 + 1 : block * 7 + 1 + draw.randint(1, 6)] = block
    start = padding.long().argmax(1)
    causal, window = masks.causal_mask_function, masks.sliding_window_overlay(draw.randint(1, 12))
    blocks, either = masks.blockwise_overlay(ids), masks.or_masks
    function = draw.choice(
        [
            causal,
            masks.sliding_window_causal_mask_function(draw.randint(1, 12)),
            masks.chunked_causal_mask_function(draw.randint(1, 9), start),
            either(causal, blocks),
            masks.and_masks(either(causal, blocks), window),
            either(masks.and_masks(window, causal), blocks),
        ]
    )
    return {
        "batch_size": BATCH,
        "q_length": queries,
        "kv_length": end - kv_offset + draw.choice([0, 0, 3]),  # a static cache has more
        "q_offset": q_offset,
        "kv_offset": kv_offset,
        "mask_function": function,
        "attention_mask": draw.choice([padding, padding, None]),
        "allow_is_causal_skip": False,
    }


def made_again(sight, arguments, instead=None):
    """The mask ``[B, q, n]`` from the patterns of a sight, pair by pair."""
    shape = (BATCH, sight.queries, sight.keys)
    mask = torch.zeros(shape, dtype=torch.bool)
    for stretch in sight.stretches:
        first, behind = max(stretch.start, sight.first_query), min(stretch.stop, sight.end)
        if first >= behind:
            continue
        pattern = sight.rule.pattern(behind - stretch.start, stretch.spans, instead)
        context = Context(behind - first, behind - stretch.start, first - stretch.start)
        allowed = allowed_block(pattern, context)[0]
        forgotten = max(0, sight.first_key - stretch.start)
        begin = stretch.start + forgotten - sight.first_key
        rows, columns = slice(*stretch.rows), slice(first - sight.first_query, None)
        keys = slice(begin, behind - sight.first_key)
        mask[rows, columns, keys][:, : behind - first] = allowed[:, forgotten:]
    return mask


@pytest.mark.parametrize("seed", range(60))
def test_a_sight_says_what_the_mask_of_sdpa_shows(seed):
    arguments = drawn(seed)
    sight = seen(sdpa_mask)(**arguments)
    assert isinstance(sight, Sight)
    dense = sdpa_mask(**arguments)
    assert torch.equal(sight.dense(), dense)
    assert sight.shape == dense.shape
    found = made_again(sight, arguments)
    padding = arguments["attention_mask"]
    if padding is not None:  # queries that are padding see nothing here, and something there
        at = arguments["q_offset"]
        dense = dense & padding[:, None, at : at + sight.queries, None]
    # of a block that goes on behind the pass, what is not written yet is not seen
    dense = dense & (torch.arange(sight.keys) + sight.first_key < sight.end)
    assert torch.equal(found, dense[:, 0])


@pytest.mark.parametrize("seed", range(40))
def test_a_pattern_stands_for_causal(seed):
    """``(M and (P or ahead)) or (P and ahead)``, with a pattern that looks back and not ahead."""
    arguments = drawn(seed)
    sight = seen(sdpa_mask)(**arguments)
    columns = torch.arange(sight.keys) + sight.first_key
    queries = torch.arange(sight.queries) + sight.first_query
    delta = queries[:, None] - columns[None]
    pattern = ((delta >= 0) & (delta < 4)) | (delta < 0)
    plain = made_again(sight, arguments)
    assert torch.equal(made_again(sight, arguments, SlidingWindow(4)), plain & pattern)


@pytest.mark.parametrize("rows", [slice(0, 2), slice(1, 3), slice(2, 3)])
def test_some_rows_of_a_sight_are_those_rows_of_the_mask(rows):
    for seed in range(8):
        sight = seen(sdpa_mask)(**drawn(seed))
        some = sight.of(rows)
        assert torch.equal(some.dense(), sight.dense()[rows])
        assert torch.equal(some.of(slice(0, 1)).dense(), sight.dense()[rows][:1])
        assert some.stretches[-1].rows[1] == rows.stop - rows.start
        assert replace(some.stretches[0], rows=(0, 1)) in [
            replace(one, rows=(0, 1)) for one in sight.stretches
        ]


def test_what_is_not_known_stays_a_tensor():
    arguments = {"batch_size": 1, "q_length": 6, "kv_length": 6, "allow_is_causal_skip": False}
    own = masks.and_masks(masks.causal_mask_function, lambda b, h, q, k: q - k != 2)
    packed = masks.packed_sequence_mask_function(torch.tensor([[0, 0, 0, 1, 1, 1]]))
    twice = masks.or_masks(masks.causal_mask_function, masks.causal_mask_function)
    gaps = torch.tensor([[1, 1, 0, 1, 1, 1]]).bool()
    both = masks.and_masks(packed, masks.causal_mask_function)
    for function in (own, both, twice, masks.bidirectional_mask_function, lambda b, h, q, k: q > k):
        assert rule_of(function) is None
    for further in ({"mask_function": own}, {"mask_function": both}, {"attention_mask": gaps}):
        found = seen(sdpa_mask)(**arguments, **further)
        assert torch.equal(found, sdpa_mask(**arguments, **further))


@pytest.mark.parametrize("offset", [0, 37])
@pytest.mark.parametrize(
    "pattern",
    [
        NotBefore(5),
        SameChunk(6),
        Ahead(),
        InBlock(((3, 9), (9, 30), (41, 44))),
        InBlock(()),
        Written(20),
        Causal() & NotBefore(9) | InBlock(((3, 9),)),
        Moved(SameChunk(7) & Causal(), 11),
        Moved(InBlock(((12, 19), (30, 47))) | Causal(), 11),
    ],
    ids=str,
)
def test_what_tiles_say_is_what_pairs_say(pattern, offset):
    context = Context(50, 50 + offset, offset)
    dense = allowed_block(pattern, context)
    for q_tile, k_tile in ((7, 8), (16, 16), (64, 64)):
        plan = tile_plan(pattern, context, q_tile, k_tile)
        assert plan.pairs == int(dense.sum())
        full = plan.states()[0] == 2
        for row, column in full.nonzero().tolist():
            tile = dense[0, row * q_tile : (row + 1) * q_tile, column * k_tile :][:, :k_tile]
            assert bool(tile.all())


def test_a_pattern_moved_is_the_pattern_without_its_first_keys():
    pattern = SlidingWindow(9, sink=3) & SameChunk(10)
    whole = allowed_block(pattern, Context(4, 30, 26))
    assert torch.equal(allowed_block(Moved(pattern, 11), Context(4, 19, 15)), whole[:, :, 11:])

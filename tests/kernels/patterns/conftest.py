"""Masks written out from what patterns and plans say, to hold one against the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lmms_causal.kernels.patterns import AttentionPattern, Context, Region, TilePlan


class Written:
    """Dense masks, bool ``[H, queries, keys]``."""

    @staticmethod
    def pattern(pattern: AttentionPattern, context: Context) -> Tensor:
        """By asking for every head, query and key, not by planes."""
        h = torch.arange(context.heads)[:, None, None]
        i = torch.arange(context.offset, context.offset + context.queries)[None, :, None]
        j = torch.arange(context.keys)[None, None]
        shape = (context.heads, context.queries, context.keys)
        return pattern.allowed(context, h, i, j).expand(shape)

    @staticmethod
    def plan(plan: TilePlan) -> Tensor:
        """From its tile lists and bitmaps, in the plain order of tokens."""
        context, bq, bk = plan.context, plan.q_tile, plan.k_tile
        mask = torch.zeros(plan.planes, plan.q_tiles * bq, plan.k_tiles * bk, dtype=torch.bool)
        for row in range(plan.planes * plan.q_tiles):
            plane, t = divmod(row, plan.q_tiles)
            listed = range(int(plan.starts[row]), int(plan.starts[row + 1]))
            columns = [int(plan.columns[at]) for at in listed]
            assert columns == sorted(set(columns))
            for at, column in zip(listed, columns, strict=True):
                which = int(plan.masks[at])
                tile = torch.ones(bq, bk, dtype=torch.bool)
                if which >= 0:
                    bits = plan.bitmaps[which][:, :, None] >> torch.arange(8, dtype=torch.uint8)
                    tile = (bits & 1).bool().view(bq, bk)
                    assert tile.any()  # an empty tile is not listed
                mask[plane, t * bq : (t + 1) * bq, column * bk : (column + 1) * bk] = tile
        mask = mask[:, : context.queries, : context.keys]
        if plan.order is not None:
            assert torch.equal(plan.order.sort().values, torch.arange(context.keys))
            back = plan.order.argsort()
            mask = mask[:, back][:, :, back]
        return mask.repeat_interleave(context.heads // plan.planes, 0)

    @staticmethod
    def ranges(starts: Tensor, ranges: Tensor, context: Context) -> Tensor:
        """From ranges of keys."""
        planes = (len(starts) - 1) // context.queries
        mask = torch.zeros(len(starts) - 1, context.keys, dtype=torch.bool)
        for row in range(len(mask)):
            for first, behind in ranges[starts[row] : starts[row + 1]].tolist():
                mask[row, first:behind] = True
        mask = mask.view(planes, context.queries, context.keys)
        return mask.repeat_interleave(context.heads // planes, 0)


@pytest.fixture(scope="session")
def written() -> type[Written]:
    return Written


@pytest.fixture(scope="session")
def prompt() -> tuple[Region, ...]:
    """Regions of a prompt of 200 tokens, for every pattern that asks for some."""
    return (
        Region("prefix", 0, 9),
        Region("image", 11, 11 + 63, (7, 9)),
        Region("question", 74, 95),
        Region("segment", 96, 110),
        Region("segment", 110, 117),
        Region("segment", 117, 140),
        Region("segment", 145, 150),
        Region("segment", 150, 171),
        Region("document", 0, 60),
        Region("document", 70, 200),
    )

"""Lists that do not fit are refused before anything is read, and what is written is the output."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from attention_cases import SPECIAL, context, edits, problem
from native_calls import Raw, exact, fuzz, slack

from lmms_causal.errors import UserError
from lmms_causal.kernels.attention import attention
from lmms_causal.kernels.backends import cpu
from lmms_causal.kernels.edits import Edits, Term, bias
from lmms_causal.kernels.patterns import Context, tile_plan


def test_spoiled_lists_are_told_from_good_ones(own) -> None:
    statuses = fuzz(own, 1500, seed=0)
    assert {0, 1, 2} <= set(statuses)
    assert statuses.count(0) > 200


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("field", ["q", "k", "v", "o", "starts", "columns"])
def test_missing_memory_is_refused(own, decode: bool, field: str) -> None:
    raw = Raw(decode, random.Random(0))
    assert raw.run(own) == 0
    if field in raw.lists:
        raw.lists[field] = []
    else:
        setattr(raw.call, field, None)
    assert raw.run(own) in (1, 2)


def test_backwards_rows_are_read_backwards(own) -> None:
    for decode in (True, False):
        raw = Raw(decode, random.Random(1))
        given = raw.given
        want, want_lse = exact(given)
        k, v = (x.flip(2).contiguous() for x in (given.k, given.v))
        n = given.context.keys
        for name, x in (("k", k), ("v", v)):
            setattr(raw.call, name, x.data_ptr() + (n - 1) * x.stride(2) * 4)
            getattr(raw.call, f"{name}_stride")[:] = (x.stride(0), x.stride(1), -x.stride(2))
        assert raw.run(own) == 0
        error = (raw.out.double() - want).abs().max()
        assert error <= slack(given, want, want_lse)


def test_plans_that_do_not_fit_are_refused(own) -> None:
    given = problem(context(100, 100, 0, 4, 2), SPECIAL["blocks"])
    out, lse = torch.empty_like(given.q), torch.empty(given.q.shape[:3])
    plan = tile_plan(given.pattern, given.context)
    other = tile_plan(SPECIAL["blocks"], Context(300, 300, heads=4, kv_heads=2))
    for bad in (
        replace(plan, masks=plan.masks[:-1]),
        replace(plan, columns=plan.columns.long()),
        replace(plan, columns=plan.columns.flip(0)),
        replace(plan, columns=plan.columns + 1),
        replace(plan, bitmaps=plan.bitmaps[:0]),
        replace(plan, bitmaps=plan.bitmaps[:, :8]),
        replace(plan, planes=4),
        other,
    ):
        with pytest.raises(ValueError, match="attention was not computed"):
            cpu.launch(given, bad, out, lse)
    cpu.launch(given, plan, out, lse)


def test_bits_behind_the_last_key_do_not_count(own) -> None:
    given = problem(context(100, 70, -30, 4, 2), SPECIAL["causal"])
    plan = tile_plan(given.pattern, given.context)
    bits = plan.bitmaps.clone()
    column = {int(mask): int(at) for mask, at in zip(plan.masks, plan.columns, strict=True)}
    ragged = [mask for mask, at in column.items() if mask >= 0 and at == 1]
    assert ragged
    bits[ragged, :, 1:] = 255  # keys 72 and later
    out, lse = torch.empty_like(given.q), torch.empty(given.q.shape[:3])
    want, want_lse = torch.empty_like(out), torch.empty_like(lse)
    cpu.launch(given, plan, want, want_lse)
    cpu.launch(given, replace(plan, bitmaps=bits), out, lse)
    assert torch.equal(out, want)
    assert torch.equal(lse, want_lse)


def test_factors_of_other_sizes_are_refused() -> None:
    q = torch.randn(2, 4, 20, 16)
    for bad in (
        Edits((bias(1.0, torch.ones(1, 1, 19)),)),
        Edits((bias(1.0, torch.ones(1, 3, 20)),)),
        Edits((bias(1.0, torch.ones(3, 1, 20)),)),
        Edits((bias(1.0, torch.ones(20)),)),
        Edits((Term("add", torch.ones(1, 1, 20), torch.ones(1, 1, 7)),)),
        Edits(head_scale=torch.ones(2, 3)),
    ):
        for step in (q, q[:, :, -1:]):
            with pytest.raises(UserError, match=r"factors of an edit are .*give them as"):
                attention(step, q, q, edits=bad, backend="cpu")


@pytest.mark.parametrize("kind", ["everything", "heads"])
def test_writes_all_of_the_output_and_nothing_else(own, kind: str) -> None:
    where = context(100, 100, 0, 4, 2)
    given = problem(where, SPECIAL["causal-rows"], edits=edits(where, 2)[kind])
    room = torch.full((2, 4, 102, 24), torch.nan)
    out = room[:, :, 1:-1, 4:20]
    lse = torch.full((2 * 4 * 100 + 2,), torch.nan)
    cpu.launch(
        given, tile_plan(given.pattern, where, reorder=False), out, lse[1:-1].view(2, 4, 100)
    )
    want, want_lse = exact(given)
    torch.testing.assert_close(out.double(), want, atol=slack(given, want, want_lse), rtol=0)
    assert room.isnan().sum() == room.numel() - out.numel()
    assert lse.isnan().sum() == 2

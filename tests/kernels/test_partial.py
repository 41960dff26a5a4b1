"""Attention over part of the keys: against float64, closed rows, and the merge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lmms_causal.kernels import partial
from lmms_causal.kernels.partial import attend, attend_explicit, merge

SLACK = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}

# in half precision the fused kernel sums by a quick exponential
LSE_SLACK = {**SLACK, torch.bfloat16: 1e-4, torch.float16: 1e-4}


def tensors(m: int, n: int, dtype: torch.dtype = torch.float64, heads: int = 4, shared: int = 2):
    draw = torch.Generator().manual_seed(m * 1000 + n)
    shapes = ((2, heads, m, 8), (2, shared, n, 8), (2, shared, n, 8))
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]


def reference(q: Tensor, k: Tensor, v: Tensor, scale: float, allowed: Tensor, softcap=None):
    """One table of scores in float64."""
    q, k, v = (x.double() for x in (q, k, v))
    groups = q.shape[1] // k.shape[1]
    scores = scale * q @ k.repeat_interleave(groups, 1).transpose(-1, -2)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~allowed, -torch.inf)
    weights = scores.softmax(-1).nan_to_num(0)
    return weights @ v.repeat_interleave(groups, 1), scores.logsumexp(-1)


def lower(m: int, n: int) -> Tensor:
    return torch.ones(m, n, dtype=torch.bool).tril(n - m)


@pytest.mark.parametrize("dtype", SLACK)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 9), (3, 9), (9, 9), (9, 4), (70, 300)])
@pytest.mark.parametrize("run", [attend, attend_explicit])
def test_is_attention_with_its_log_sum_exp(run, m, n, causal, dtype) -> None:
    q, k, v = tensors(m, n, dtype)
    out, lse = run(q, k, v, scale=0.5, causal=causal)
    allowed = lower(m, n) if causal else torch.ones(m, n, dtype=torch.bool)
    want, want_lse = reference(q, k, v, 0.5, allowed)
    torch.testing.assert_close(out.double(), want, atol=SLACK[dtype], rtol=0)
    torch.testing.assert_close(lse.double(), want_lse, atol=LSE_SLACK[dtype], rtol=0)
    assert out.dtype is dtype
    assert lse.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)


@pytest.mark.parametrize("causal", [False, True])
def test_mask_cap_and_chunks(monkeypatch, causal) -> None:
    q, k, v = tensors(11, 17)
    mask = torch.rand(2, 1, 11, 17, generator=torch.Generator().manual_seed(0)) > 0.5
    mask[1, 0, 4] = False
    monkeypatch.setattr(partial, "_SCORES", 3 * 2 * 4 * 17)  # three rows at a time
    out, lse = attend(q, k, v, scale=0.7, causal=causal, mask=mask, softcap=2.0)
    allowed = mask & lower(11, 17) if causal else mask
    want, want_lse = reference(q, k, v, 0.7, allowed, softcap=2.0)
    torch.testing.assert_close(out, want, atol=1e-12, rtol=0)
    torch.testing.assert_close(lse, want_lse, atol=1e-12, rtol=0)
    assert (out[1, :, 4] == 0).all() and (lse[1, :, 4] == -torch.inf).all()


def test_queries_before_every_key_see_nothing() -> None:
    q, k, v = tensors(5, 3, torch.float32)
    for run in (attend, attend_explicit):
        out, lse = run(q, k, v, scale=1.0, causal=True)
        assert (out[:, :, :2] == 0).all() and (lse[:, :, :2] == -torch.inf).all()
        out, lse = run(q, k[:, :, :0], v[:, :, :0], scale=1.0)
        assert (out == 0).all() and (lse == -torch.inf).all()


@pytest.mark.parametrize("few", [0, 1 << 30])  # a running average, and a stack
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_parts_merge_to_the_whole(monkeypatch, few, dtype) -> None:
    monkeypatch.setattr(partial, "_FEW", few)
    q, k, v = tensors(6, 40, dtype)
    whole = attend(q, k, v, scale=0.5, causal=True)

    def parts() -> Iterator[partial.Part]:
        yield attend(q, k[:, :, :0], v[:, :, :0], scale=0.5)  # closed for every query
        for a, b in ((0, 1), (1, 20), (20, 34)):
            yield attend(q, k[:, :, a:b], v[:, :, a:b], scale=0.5)
        yield attend(q, k[:, :, 34:], v[:, :, 34:], scale=0.5, causal=True)

    for given in (parts(), list(parts())):
        out, lse = merge(given)
        torch.testing.assert_close(out, whole[0], atol=SLACK[dtype], rtol=0)
        torch.testing.assert_close(lse, whole[1], atol=SLACK[dtype], rtol=0)


@pytest.mark.parametrize("few", [0, 1 << 30])
def test_merging_closed_parts_gives_zero_and_leaves_its_input(monkeypatch, few) -> None:
    monkeypatch.setattr(partial, "_FEW", few)
    closed = torch.zeros(1, 2, 3, 4), torch.full((1, 2, 3), -torch.inf)
    out, lse = merge([closed, closed, closed])
    assert (out == 0).all() and (lse == -torch.inf).all()
    one = torch.ones(1, 2, 3, 4), torch.zeros(1, 2, 3)
    two = torch.full((1, 2, 3, 4), 3.0), torch.zeros(1, 2, 3)
    out, lse = merge([one, two])
    assert (out == 2).all() and torch.allclose(lse, torch.full_like(lse, 2.0).log())
    assert (one[0] == 1).all() and (two[0] == 3).all() and (one[1] == 0).all()
    with pytest.raises(ValueError, match="no part"):
        merge([])


def test_merge_is_exact_for_shares_that_are_far_apart() -> None:
    q, k, v = tensors(4, 10, torch.float32)
    k[:, :, 5:] += 30 * q[:, :2, :1].sign()  # scores of hundreds: one part has all the mass
    whole, _ = attend(q, k, v, scale=4.0)
    halves = [attend(q, k[:, :, a:b], v[:, :, a:b], scale=4.0) for a, b in ((0, 5), (5, 10))]
    torch.testing.assert_close(merge(halves)[0], whole, atol=1e-5, rtol=0)


def test_a_private_operator_that_changed_is_left_alone(monkeypatch) -> None:
    q, k, v = tensors(6, 6, torch.float32)
    want = attend(q, k, v, scale=0.5, causal=True)
    real = partial._fused

    def swapped(*args):  # the log-sum-exp in another base
        out, lse = real(*args)
        return out, lse / 0.6931

    def gone(*args):
        raise AttributeError("no such operator")

    for changed in (swapped, gone):
        monkeypatch.setattr(partial, "_fused", changed)
        partial._works.cache_clear()
        try:
            assert not partial._works("cpu", torch.float32)
            got = attend(q, k, v, scale=0.5, causal=True)
        finally:
            partial._works.cache_clear()
        torch.testing.assert_close(got, want, atol=3e-6, rtol=0)


@pytest.mark.parametrize("dtype", SLACK)
def test_the_private_operator_works_here(dtype) -> None:
    assert partial._works("cpu", dtype), "attention runs on the slow path in this type"

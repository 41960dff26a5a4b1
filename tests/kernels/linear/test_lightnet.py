"""LightNet: forms, the one pass over all tokens, large keys, padding, states, errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear import LightNetState, lightnet, lightnet_step
from lmms_causal.kernels.linear.lightnet_forms import _pieces

SLACK = {torch.float32: 5e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def tensors(length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    draw = torch.Generator().manual_seed(length)
    shapes = ((2, 4, length, 6), (2, 2, length, 6), (2, 2, length, 5))
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]


def by_definition(q: Tensor, k: Tensor, v: Tensor, stop: int) -> Tensor:
    """Output of token ``stop - 1``, ``[B, H, E]``: a softmax over tokens for every channel."""
    shares = k[:, :, :stop].softmax(2).repeat_interleave(2, 1)
    state = shares.mT @ v[:, :, :stop].repeat_interleave(2, 1)
    return (silu(q[:, :, stop - 1 : stop]) @ state)[:, :, 0]


def same(state: LightNetState, want: LightNetState) -> None:
    torch.testing.assert_close(state.memory, want.memory, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(state.z, want.z, atol=1e-12, rtol=1e-12)


def test_by_hand() -> None:
    """Equal keys: every state is the mean so far; a key of log 3 more counts three times."""
    q = torch.ones(1, 1, 3, 1, dtype=torch.float64)
    k = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64).log1p()[None, None, :, None]
    k[:, :, 2] -= torch.log(torch.tensor(4.0 / 3))
    v = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)[None, None, :, None]
    want = silu(q.new_tensor(1.0)) * q.new_tensor([1, 1.5, (1 + 2 + 18) / 5])
    for form in ("chunk", "recurrent", "naive"):
        out, state = lightnet(q, k, v, form=form, return_state=True)
        torch.testing.assert_close(out.flatten(), want)
        torch.testing.assert_close(state.z.flatten(), q.new_tensor([5.0]).log())


@pytest.mark.parametrize("factor", [1, 30, 1000])
@pytest.mark.parametrize("length", [1, 7, 64, 65, 130])
def test_forms_agree_and_carry_on(factor: int, length: int) -> None:
    q, k, v = tensors(length)
    k = k * factor
    want, kept = lightnet(q, k, v, scale=0.7, return_state=True, form="naive")
    for stop in {1, length // 2 + 1, length}:
        row = 0.7 * by_definition(q, k, v, stop)
        torch.testing.assert_close(want[:, :, stop - 1], row, atol=1e-12, rtol=0)
    for run in [{"form": "recurrent"}, *({"chunk": size} for size in (1, 7, 64, 1000))]:
        cut, state, parts = length // 3, None, []
        out, whole = lightnet(q, k, v, scale=0.7, return_state=True, **run)
        torch.testing.assert_close(out, want, atol=2e-12, rtol=0)
        same(whole, kept)
        for some in (slice(0, cut), slice(cut, length)):
            now = (x[:, :, some] for x in (q, k, v))
            part, state = lightnet(*now, scale=0.7, state=state, return_state=True, **run)
            parts.append(part)
        torch.testing.assert_close(torch.cat(parts, 2), want, atol=2e-12, rtol=0)
        same(state, kept)


def test_naive_carries_on_and_steps_are_the_whole() -> None:
    q, k, v = tensors(12)
    want, kept = lightnet(q, k, v, return_state=True)
    state, parts = None, []
    for t in range(12):
        out, state = lightnet_step(*(x[:, :, t : t + 1] for x in (q, k, v)), state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 2), want, atol=1e-12, rtol=0)
    same(state, kept)
    _, state = lightnet(*(x[:, :, :5] for x in (q, k, v)), return_state=True)
    rest = (x[:, :, 5:] for x in (q, k, v))
    out = lightnet(*rest, state=state, form="naive")
    torch.testing.assert_close(out, want[:, :, 5:], atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", SLACK)
@pytest.mark.parametrize("factor", [1, 30])
def test_precision_with_large_keys(dtype: torch.dtype, factor: int) -> None:
    q, k, v = tensors(300, dtype)
    k = k * factor
    out, state = lightnet(q, k, v, return_state=True)
    want = lightnet(q.double(), k.double(), v.double(), form="recurrent")
    assert out.dtype is dtype and state.z.dtype is state.memory.dtype is torch.float32
    slack = SLACK[dtype] * (4 if factor > 1 else 1)
    torch.testing.assert_close(out.double(), want, atol=slack, rtol=slack)


@pytest.mark.parametrize("at", [0, 31, 63, 64])
def test_one_huge_key_late_in_a_chunk(at: int) -> None:
    """Where ``exp(max - z)`` would be infinite, and behind it where ``exp(k - max)`` would be 0."""
    q, k, v = tensors(100, torch.float32)
    k[0, 1, at, 2], k[1, 0, at, 3] = 3e4, -3e4
    out = lightnet(q, k, v)
    want = lightnet(q.double(), k.double(), v.double(), form="recurrent")
    torch.testing.assert_close(out.double(), want, atol=2e-5, rtol=2e-5)


def test_chunks_are_cut_only_where_keys_rise() -> None:
    k = torch.zeros(1, 1, 200, 3)
    z = torch.full((1, 1, 3), -torch.inf)
    whole = [slice(0, 64), slice(64, 128), slice(128, 192), slice(192, 200)]
    assert list(_pieces(k, z, 64)) == whole
    k[0, 0, 70, 1] = 500
    pieces = list(_pieces(k, z, 64))
    assert [piece for piece in pieces if piece.stop <= 64 or piece.start >= 128] == [
        whole[0],
        *whole[2:],
    ]
    assert any(piece.start == 70 for piece in pieces) and len(pieces) < 12
    assert list(_pieces(k, torch.full((1, 1, 3), 450.0), 64)) == whole


@pytest.mark.parametrize("form", ["chunk", "recurrent", "naive"])
def test_padded_is_single(form: str) -> None:
    q, k, v = tensors(80)
    mask = torch.ones(2, 80, dtype=torch.bool)
    mask[0, :13] = False  # on the left
    mask[1, 70:] = False  # on the right
    k[0, :, :13], v[0, :, :13] = torch.inf, torch.nan  # what must not be read
    out, state = lightnet(q, k, v, mask=mask, return_state=True, form=form)
    for row, some in ((0, slice(13, 80)), (1, slice(0, 70))):
        alone = (x[row : row + 1, :, some] for x in (q, k, v))
        want, kept = lightnet(*alone, return_state=True, form=form)
        torch.testing.assert_close(out[row : row + 1, :, some], want, atol=1e-12, rtol=0)
        same(LightNetState(*(x[row : row + 1] for x in state)), kept)
    assert (out.transpose(1, 2)[~mask] == 0).all()


def test_all_tokens_see_all() -> None:
    q, k, v = tensors(60)
    out, state = lightnet(q, k, v, causal=False, return_state=True)
    shares = (k.softmax(2).mT @ v).repeat_interleave(2, 1)
    torch.testing.assert_close(out, silu(q) @ shares, atol=1e-12, rtol=0)
    causal, kept = lightnet(q, k, v, return_state=True)
    torch.testing.assert_close(out[:, :, -1], causal[:, :, -1], atol=1e-12, rtol=0)
    same(state, kept)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    moved = lightnet(*(x[:, :, order] for x in (q, k, v)), causal=False)
    torch.testing.assert_close(moved, out[:, :, order], atol=1e-12, rtol=0)


def test_a_picture_in_one_pass_after_a_text() -> None:
    """Tokens along two axes, with padding, behind a causal state: one sum over all."""
    q, k, v = tensors(60)
    text, picture = ([x[:, :, some] for x in (q, k, v)] for some in (slice(0, 20), slice(20, 60)))
    _, state = lightnet(*text, return_state=True)
    mask = torch.ones(2, 5, 8, dtype=torch.bool)
    mask[0, 4] = False
    out, kept = lightnet(
        *(x.unflatten(2, (5, 8)) for x in picture),
        causal=False, mask=mask, state=state, return_state=True,
    )  # fmt: skip
    whole = lightnet(q, k, v, causal=False)
    assert out.shape == (2, 4, 5, 8, 5)
    torch.testing.assert_close(out[1].flatten(1, 2), whole[1, :, 20:], atol=1e-12, rtol=0)
    part = lightnet(*(x[:1, :, :52] for x in (q, k, v)), causal=False)
    torch.testing.assert_close(out[0].flatten(1, 2)[:, :32], part[0, :, 20:], atol=1e-12, rtol=0)
    assert (out[0, :, 4] == 0).all() and kept.z.shape == (2, 2, 6)


def test_gradients() -> None:
    q, k, v = tensors(20)
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[0, :3] = False
    grads = []
    for run in ({"chunk": 8}, {"form": "recurrent"}):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out, state = lightnet(*leaves, mask=mask, return_state=True, **run)
        loss = out.square().sum() + state.memory.square().sum() + state.z.square().sum()
        grads.append(torch.autograd.grad(loss, leaves))
    for ours, theirs in zip(*grads, strict=True):
        visible = mask[:, None, :, None].expand_as(theirs)
        assert torch.isfinite(ours[visible]).all()
        torch.testing.assert_close(ours[1], theirs[1], atol=1e-11, rtol=0)


def test_no_tokens() -> None:
    q, k, v = tensors(0)
    for run in ({"form": form} for form in ("chunk", "recurrent", "naive")):
        out, state = lightnet(q, k, v, return_state=True, **run)
        assert out.shape == (2, 4, 0, 5) and (state.memory == 0).all()
    out, state = lightnet(q, k, v, causal=False, return_state=True)
    assert out.shape == (2, 4, 0, 5) and (state.z == -torch.inf).all()


def test_errors() -> None:
    q, k, v = tensors(6)
    with pytest.raises(UserError, match="several axes"):
        lightnet(*(x.unflatten(2, (2, 3)) for x in (q, k, v)))
    with pytest.raises(UserError, match="mask"):
        lightnet(q, k, v, mask=torch.ones(2, 6))
    with pytest.raises(UserError, match="mask"):
        lightnet(q, k, v, mask=torch.ones(1, 6, dtype=torch.bool))
    with pytest.raises(UserError, match="the state is"):
        lightnet(q, k, v, state=LightNetState(torch.zeros(2, 4, 6, 5), torch.zeros(2, 4, 6)))

"""Lightning attention: three forms, states, shared heads, slopes, precision, errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear import lightning_attention, lightning_slopes, lightning_step

SLACK = {torch.float32: 2e-5, torch.bfloat16: 1.0 / 64, torch.float16: 2e-3}


def tensors(
    length: int, heads: int = 4, shared: int = 2, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Queries and keys 6 wide, values 5 wide; keys small, so that outputs are about 1."""
    draw = torch.Generator().manual_seed(length)
    shapes = ((2, heads, length, 6), (2, shared, length, 6), (2, shared, length, 5))
    q, k, v = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return [x.to(dtype) for x in (q, k / 4, v)]


def test_by_hand() -> None:
    one = torch.ones(1, 1, 3, 1, dtype=torch.float64)
    v = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[None, None, :, None]
    half = torch.tensor([math.log(2.0)], dtype=torch.float64)
    for form in ("chunk", "recurrent", "naive"):
        out, state = lightning_attention(one, one, v, half, scale=2, return_state=True, form=form)
        torch.testing.assert_close(out.flatten(), 2 * v.new_tensor([1, 2.5, 4.25]))
        torch.testing.assert_close(state.flatten(), v.new_tensor([4.25]))


@pytest.mark.parametrize("slopes", [None, lightning_slopes(4), lightning_slopes(2)])
@pytest.mark.parametrize("length", [1, 7, 64, 65, 130])
def test_forms_agree_and_carry_on(slopes: Tensor | None, length: int) -> None:
    q, k, v = tensors(length)
    want, kept = lightning_attention(q, k, v, slopes, scale=0.7, return_state=True, form="naive")
    runs = [{"form": "recurrent"}, *({"chunk": size} for size in (1, 7, 64, 1000))]
    for run in runs:
        out, state = lightning_attention(q, k, v, slopes, scale=0.7, return_state=True, **run)
        torch.testing.assert_close(out, want, atol=1e-12, rtol=0)
        torch.testing.assert_close(state, kept, atol=1e-12, rtol=0)
        cut, state, parts = length // 3, None, []
        for some in (slice(0, cut), slice(cut, length)):
            part, state = lightning_attention(
                q[:, :, some], k[:, :, some], v[:, :, some], slopes,
                scale=0.7, state=state, return_state=True, **run,
            )  # fmt: skip
            parts.append(part)
        torch.testing.assert_close(torch.cat(parts, 2), want, atol=1e-12, rtol=0)
        torch.testing.assert_close(state, kept, atol=1e-12, rtol=0)


def test_naive_carries_on() -> None:
    q, k, v = tensors(30)
    slopes = lightning_slopes(4)
    want = lightning_attention(q, k, v, slopes)
    _, state = lightning_attention(*(x[:, :, :11] for x in (q, k, v)), slopes, return_state=True)
    rest = (x[:, :, 11:] for x in (q, k, v))
    out = lightning_attention(*rest, slopes, state=state, form="naive")
    torch.testing.assert_close(out, want[:, :, 11:], atol=1e-12, rtol=0)


def test_steps_are_the_whole() -> None:
    q, k, v = tensors(9)
    slopes, state, parts = lightning_slopes(4), None, []
    for t in range(9):
        now = (x[:, :, t : t + 1] for x in (q, k, v))
        out, state = lightning_step(*now, state, slopes)
        parts.append(out)
    want = lightning_attention(q, k, v, slopes)
    torch.testing.assert_close(torch.cat(parts, 2), want, atol=1e-12, rtol=0)


def test_without_fading_is_linear_attention() -> None:
    q, k, v = tensors(100)
    k_h, v_h = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    want = (q @ k_h.mT).tril() @ v_h
    torch.testing.assert_close(lightning_attention(q, k, v), want, atol=1e-12, rtol=0)
    zero = torch.zeros(4)
    torch.testing.assert_close(lightning_attention(q, k, v, zero), want, atol=1e-12, rtol=0)


def test_fastest_slope_over_a_long_chunk_is_finite() -> None:
    q, k, v = tensors(600, dtype=torch.float32)
    slopes = torch.tensor([5.0, 0.0, 1.0, 50.0])
    out = lightning_attention(q, k, v, slopes, chunk=512)
    want = lightning_attention(q.double(), k.double(), v.double(), slopes, form="recurrent")
    torch.testing.assert_close(out.double(), want, atol=2e-5, rtol=2e-5)


def test_later_tokens_do_not_matter() -> None:
    q, k, v = tensors(90)
    slopes = lightning_slopes(4)
    want = lightning_attention(q, k, v, slopes)
    for stop in (1, 40, 64, 65):
        out = lightning_attention(*(x[:, :, :stop] for x in (q, k, v)), slopes)
        torch.testing.assert_close(out, want[:, :, :stop], atol=1e-12, rtol=0)


def test_left_padding_with_keys_of_zero() -> None:
    q, k, v = tensors(40)
    padded = [torch.cat([torch.ones_like(x[:, :, :9]), x], 2) for x in (q, k, v)]
    padded[1][:, :, :9] = 0
    slopes = lightning_slopes(4)
    out = lightning_attention(*padded, slopes)
    torch.testing.assert_close(out[:, :, 9:], lightning_attention(q, k, v, slopes))


@pytest.mark.parametrize("dtype", SLACK)
def test_precision(dtype: torch.dtype) -> None:
    q, k, v = tensors(500, dtype=dtype)
    slopes = lightning_slopes(4)
    out, state = lightning_attention(q, k, v, slopes, return_state=True)
    want = lightning_attention(q.double(), k.double(), v.double(), slopes, form="recurrent")
    assert out.dtype is dtype and state.dtype is torch.float32
    torch.testing.assert_close(out.double(), want, atol=SLACK[dtype], rtol=SLACK[dtype])


def test_transposed_inputs_and_gradients() -> None:
    q, k, v = tensors(20)
    views = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    slopes = lightning_slopes(4)
    torch.testing.assert_close(
        lightning_attention(*views, slopes, chunk=8), lightning_attention(q, k, v, slopes, chunk=8)
    )
    grads = []
    for form in ("chunk", "naive"):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = lightning_attention(*leaves, slopes, chunk=8, form=form)
        grads.append(torch.autograd.grad(out.square().sum(), leaves))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


def test_slopes() -> None:
    eighths = [2.0**-h for h in range(1, 9)]
    between = [2.0**-0.5, 2.0**-1.5, 2.0**-2.5, 2.0**-3.5]
    assert lightning_slopes(4).tolist() == [0.25, 0.0625, 0.015625, 0.00390625]
    assert lightning_slopes(8).tolist() == eighths
    torch.testing.assert_close(lightning_slopes(12), torch.tensor(eighths + between))
    torch.testing.assert_close(lightning_slopes(4, 3, 4), lightning_slopes(4) * 1e-5)
    torch.testing.assert_close(lightning_slopes(4, 0, 4), lightning_slopes(4) * (1 + 1e-5))
    assert lightning_slopes(4, 6, 12, rule="fla").tolist() == [0, 1, 2, 3]


def test_no_tokens() -> None:
    q, k, v = tensors(0)
    for form in ("chunk", "recurrent", "naive"):
        out, state = lightning_attention(q, k, v, return_state=True, form=form)
        assert out.shape == (2, 4, 0, 5) and (state == 0).all()


def test_errors() -> None:
    q, k, v = tensors(5)
    with pytest.raises(UserError, match="do not fit"):
        lightning_attention(q, k[..., :3], v)
    with pytest.raises(UserError, match="cannot share"):
        lightning_attention(q[:, :3], k, v)
    with pytest.raises(UserError, match="5 queries and 4 keys"):
        lightning_attention(q, k[:, :, :4], v[:, :, :4])
    with pytest.raises(UserError, match="floating type"):
        lightning_attention(q, k.float(), v)
    with pytest.raises(UserError, match="chunks of 0"):
        lightning_attention(q, k, v, chunk=0)
    with pytest.raises(UserError, match="below 0"):
        lightning_attention(q, k, v, torch.tensor([0.1, -0.1]))
    with pytest.raises(UserError, match=r"slopes \[3\]"):
        lightning_attention(q, k, v, torch.zeros(3))
    with pytest.raises(UserError, match="the state is"):
        lightning_attention(q, k, v, state=torch.zeros(2, 4, 6, 5))
    with pytest.raises(UserError, match="did you mean 'recurrent'"):
        lightning_attention(q, k, v, form="recurent")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="give both"):
        lightning_slopes(4, layer=1)
    with pytest.raises(UserError, match="count from 0"):
        lightning_slopes(4, 4, 4)

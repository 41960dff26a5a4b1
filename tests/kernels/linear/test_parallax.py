"""Parallax: softmax where nothing tilts, forms, windows, decode, precision, errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear import parallax, parallax_step, row_blocks

SLACK = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


def tensors(m: int, n: int | None = None, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    n = m if n is None else n
    draw = torch.Generator().manual_seed(m)
    shapes = ((2, 4, m, 6), (2, 4, m, 6), (2, 2, n, 6), (2, 2, n, 5))
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]


def test_by_hand() -> None:
    """Equal weights, keys 0 and 2, a direction of 1: ``(1 + 1) / 2 v_0 + (1 - 1) / 2 v_1``."""
    q, r = torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1).double()
    k = torch.tensor([0.0, 2.0]).double()[None, None, :, None]
    v = torch.tensor([3.0, 5.0]).double()[None, None, :, None]
    for form in ("chunk", "recurrent", "naive"):
        assert parallax(q, r, k, v, form=form).item() == pytest.approx(3.0, abs=1e-14)


@pytest.mark.parametrize("form", ["chunk", "recurrent", "naive"])
def test_without_direction_is_softmax(form: str) -> None:
    q, _, k, v = tensors(70)
    out = parallax(q, torch.zeros_like(q), k, v, scale=0.3, form=form)
    want = scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(out, want, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("causal", "window"), [(True, None), (False, None), (True, 1), (True, 9)])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 50), (7, 50), (65, 65)])
def test_forms_agree(
    monkeypatch: pytest.MonkeyPatch, causal: bool, window: int | None, m: int, n: int
) -> None:
    q, r, k, v = tensors(m, n)
    want = parallax(q, r, k, v, causal=causal, window=window, form="naive")
    for run in ({"form": "recurrent"}, {"block": 7}, {}):
        out = parallax(q, r, k, v, causal=causal, window=window, **run)
        torch.testing.assert_close(out, want, atol=1e-12, rtol=0)
    monkeypatch.setattr(row_blocks, "_WEIGHTS", 100)
    monkeypatch.setattr(row_blocks, "_FEWEST", 5)
    out = parallax(q, r, k, v, causal=causal, window=window)
    torch.testing.assert_close(out, want, atol=1e-12, rtol=0)
    if window == 1:  # of one key, nothing tilts
        last = v[:, :, n - m :].repeat_interleave(2, 1)
        torch.testing.assert_close(out, last, atol=1e-12, rtol=0)


def test_coefficients_sum_to_one() -> None:
    q, r, k, v = tensors(40)
    out = parallax(q, 3 * r, k, torch.ones_like(v))
    torch.testing.assert_close(out, torch.ones_like(out), atol=1e-12, rtol=0)


@pytest.mark.parametrize("window", [None, 1, 6])
def test_steps_keep_what_the_window_reaches(window: int | None) -> None:
    q, r, k, v = tensors(20)
    want = parallax(q, r, k, v, window=window)
    state, parts = None, []
    for t in range(20):
        now = (x[:, :, t : t + 1] for x in (q, r, k, v))
        out, state = parallax_step(*now, state, window=window)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 2), want, atol=1e-12, rtol=0)
    assert state.k.shape[2] == (20 if window is None else window - 1)
    half = [x[:, :, :11] for x in (q, r, k, v)]
    out, state = parallax(*half, window=window, return_state=True)
    torch.testing.assert_close(out, want[:, :, :11], atol=1e-12, rtol=0)
    rest = parallax(*(x[:, :, 11:] for x in (q, r, k, v)), window=window, state=state)
    torch.testing.assert_close(rest, want[:, :, 11:], atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", SLACK)
def test_precision(dtype: torch.dtype) -> None:
    q, r, k, v = tensors(200, dtype=dtype)
    out = parallax(q, r, k, v)
    want = parallax(*(x.double() for x in (q, r, k, v)), form="naive")
    assert out.dtype is dtype
    torch.testing.assert_close(out.double(), want, atol=SLACK[dtype], rtol=SLACK[dtype])


def test_gradients() -> None:
    q, r, k, v = tensors(12)
    grads = []
    for form in ("chunk", "naive"):
        leaves = [x.clone().requires_grad_() for x in (q, r, k, v)]
        out = parallax(*leaves, window=5, block=4, form=form)
        grads.append(torch.autograd.grad(out.square().sum(), leaves))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


def test_errors() -> None:
    q, r, k, v = tensors(5)
    with pytest.raises(UserError, match="directions"):
        parallax(q, r[:, :2], k, v)
    for wrong in ({"window": 0}, {"window": 3, "causal": False}):
        with pytest.raises(UserError, match="window"):
            parallax(q, r, k, v, **wrong)

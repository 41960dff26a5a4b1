"""Local linear attention: against least squares, its limits, precision, decode, errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear import (
    local_linear_attention,
    local_linear_step,
    parallax,
    row_blocks,
)


def tensors(m: int, n: int | None = None, width: int = 6) -> list[Tensor]:
    n = m if n is None else n
    draw = torch.Generator().manual_seed(m)
    shapes = ((2, 4, m, width), (2, 2, n, width), (2, 2, n, 5))
    return [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]


def fitted(q: Tensor, k: Tensor, v: Tensor, ridge: float, scale: float) -> Tensor:
    """Read a weighted ridge regression of ``v [n, E]`` on ``k [n, D]`` off at ``q [D]``."""
    weight = (scale * (k @ q)).softmax(0).sqrt()[:, None]
    inputs = torch.cat([torch.ones(len(k), 1, dtype=k.dtype), k - q], 1)
    slopes = torch.eye(len(q) + 1, dtype=k.dtype)[1:] * ridge**0.5  # the value at q is free
    rows = torch.cat([weight * inputs, slopes])
    targets = torch.cat([weight * v, torch.zeros(len(q), v.shape[1], dtype=v.dtype)])
    return torch.linalg.lstsq(rows, targets).solution[0]


def test_is_a_ridge_regression_read_off_at_the_query() -> None:
    q, k, v = tensors(40)
    out = local_linear_attention(q, k, v, ridge=0.3, form="naive", scale=0.4)
    for b, h, i in ((0, 0, 0), (0, 3, 1), (1, 2, 17), (1, 1, 39)):
        past = (k[b, h // 2, : i + 1], v[b, h // 2, : i + 1])
        want = fitted(q[b, h, i], *past, 0.3, 0.4)
        torch.testing.assert_close(out[b, h, i], want, atol=1e-11, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 50), (7, 50), (65, 65)])
def test_forms_agree(monkeypatch: pytest.MonkeyPatch, causal: bool, m: int, n: int) -> None:
    q, k, v = tensors(m, n)
    want = local_linear_attention(q, k, v, ridge=0.3, causal=causal, form="naive")
    for run in ({"form": "recurrent"}, {"block": 7}, {}):
        out = local_linear_attention(q, k, v, ridge=0.3, causal=causal, **run)
        torch.testing.assert_close(out, want, atol=1e-10, rtol=0)
    monkeypatch.setattr(row_blocks, "_WEIGHTS", 100)  # one key head and few rows at a time
    monkeypatch.setattr(row_blocks, "_FEWEST", 5)
    out = local_linear_attention(q, k, v, ridge=0.3, causal=causal)
    torch.testing.assert_close(out, want, atol=1e-10, rtol=0)


def test_reads_linear_values_off_exactly() -> None:
    """Values that are an affine function of keys, the query as argument, almost no ridge."""
    q, k, _ = tensors(60)
    draw = torch.Generator().manual_seed(1)
    slope, base = torch.randn(6, 5, generator=draw).double(), torch.randn(5, generator=draw)
    out = local_linear_attention(q, k, k @ slope + base, ridge=1e-9, iterations=40)
    torch.testing.assert_close(out[:, :, 20:], (q @ slope + base)[:, :, 20:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["chunk", "recurrent", "naive"])
def test_limits(form: str) -> None:
    q, k, v = tensors(30)
    far = local_linear_attention(q, k, v, ridge=1e9, form=form)
    softmax = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(far, softmax, atol=1e-7, rtol=0)
    near = local_linear_attention(q, k, v, ridge=0.1, form=form)
    first = v[:, :, 0].repeat_interleave(2, 1)
    torch.testing.assert_close(near[:, :, 0], first, atol=1e-12, rtol=0)
    assert (near - softmax).abs().max() > 0.1
    constant = local_linear_attention(q, k, torch.ones_like(v), ridge=0.1, form=form)
    torch.testing.assert_close(constant, torch.ones_like(constant), atol=1e-10, rtol=0)


def test_moving_keys_and_queries_together_changes_nothing() -> None:
    q, k, v = tensors(30)
    shift = torch.randn(6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    want = local_linear_attention(q, k, v, ridge=0.3, scale=0.4, causal=False)
    # scores change by a constant of the row only if queries stay, so that weights are kept apart
    moved = local_linear_attention(q + shift, k + shift, v, ridge=0.3, scale=0.0, causal=False)
    still = local_linear_attention(q, k, v, ridge=0.3, scale=0.0, causal=False)
    torch.testing.assert_close(moved, still, atol=1e-10, rtol=0)
    assert (want - still).abs().max() > 0.01


def test_is_parallax_along_the_solution() -> None:
    q, k, v = tensors(25)
    k_h, scale = k.repeat_interleave(2, 1), 6**-0.5
    p = (scale * q @ k_h.mT).masked_fill(torch.ones(25, 25).triu(1).bool(), -torch.inf).softmax(-1)
    centre = p @ k_h
    moment = torch.einsum("bhij,bhjd,bhje->bhide", p, k_h, k_h)
    spread = moment - centre[..., None] * centre[..., None, :] + 0.3 * torch.eye(6).double()
    tilt = torch.linalg.solve(spread, centre - q)
    want = local_linear_attention(q, k, v, ridge=0.3, form="naive")
    torch.testing.assert_close(parallax(q, tilt, k, v), want, atol=1e-11, rtol=0)


def test_converges_in_as_many_iterations_as_channels() -> None:
    q, k, v = tensors(40)
    want = local_linear_attention(q, k, v, ridge=0.3, form="naive")
    errors = []
    for count in (1, 3, 6):
        out = local_linear_attention(q, k, v, ridge=0.3, iterations=count)
        errors.append((out - want).abs().max().item())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-9


@pytest.mark.parametrize("common", [0.0, 50.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_with_a_common_part_of_keys(dtype: torch.dtype, common: float) -> None:
    q, k, v = (x.to(dtype) for x in tensors(80, width=16))
    k = k + common
    out = local_linear_attention(q, k, v, ridge=1.0)
    want = local_linear_attention(q.double(), k.double(), v.double(), ridge=1.0, form="naive")
    slack = 2e-4 if dtype is torch.float32 else 1e-2
    assert out.dtype is dtype
    size = max(1.0, want.abs().max().item())
    torch.testing.assert_close(out.double(), want, atol=slack * size, rtol=1e-2)


def test_equal_keys_and_a_tiny_ridge_are_finite() -> None:
    q, k, v = (x.float() for x in tensors(40))
    same = k[:, :, :1].expand_as(k)
    out = local_linear_attention(q, same, v, ridge=1e-6)
    softmax = scaled_dot_product_attention(q, same, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(out, softmax, atol=1e-5, rtol=0)


def test_steps_and_prefixes_are_the_whole() -> None:
    q, k, v = tensors(20)
    want = local_linear_attention(q, k, v, ridge=0.3)
    state, parts = None, []
    for t in range(20):
        out, state = local_linear_step(*(x[:, :, t : t + 1] for x in (q, k, v)), state, ridge=0.3)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 2), want, atol=1e-10, rtol=0)
    out = local_linear_attention(*(x[:, :, :11] for x in (q, k, v)), ridge=0.3)
    torch.testing.assert_close(out, want[:, :, :11], atol=1e-10, rtol=0)


def test_gradients() -> None:
    q, k, v = tensors(9)
    grads = []
    for form in ("chunk", "naive"):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = local_linear_attention(*leaves, ridge=0.5, iterations=12, form=form)
        grads.append(torch.autograd.grad(out.square().sum(), leaves))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_errors() -> None:
    q, k, v = tensors(5)
    for ridge in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="ridge above 0"):
            local_linear_attention(q, k, v, ridge=ridge)
    with pytest.raises(UserError, match="at least 1 iteration"):
        local_linear_attention(q, k, v, ridge=1.0, iterations=0)
    with pytest.raises(UserError, match="5 queries and 4 keys"):
        local_linear_attention(q, k[:, :, :4], v[:, :, :4], ridge=1.0)
    _, state = local_linear_attention(q, k, v, ridge=1.0, return_state=True)
    with pytest.raises(UserError, match="length only"):
        local_linear_attention(q.float(), k.float(), v.float(), ridge=1.0, state=state)

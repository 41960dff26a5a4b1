"""Parallax: softmax attention, tilted along a learned direction of each query.

Yifei Zuo et al., arXiv 2605.29157 (as computed by the package flash-linear-attention, MIT). With
``p = softmax(c q . k)`` over the past and ``r`` a vector that the model makes of the token like
``q``, which is not scaled:

    o = sum_j p_j v_j (1 + sum_l p_l r . k_l) - sum_j p_j (r . k_j) v_j
      = sum_j p_j (1 - r . (k_j - kbar)) v_j            kbar = sum_j p_j k_j

so ``r = 0`` is softmax attention, the coefficients sum to 1, and with ``r`` as in
:mod:`local_linear` this is local linear attention. It needs all keys, and twice the products of
softmax attention for its scores.
"""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear import through_fla
from lmms_causal.kernels.linear.heads import Form, KeyValues, check, check_choice
from lmms_causal.kernels.linear.row_blocks import assembled, row_blocks, tilted
from lmms_causal.kernels.rotation import wide_type

__all__ = ["chunked", "naive", "parallax", "parallax_step", "recurrent"]


@overload
def parallax(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = ...,
    window: int | None = ...,
    causal: bool = ...,
    block: int = ...,
    state: KeyValues | None = ...,
    return_state: Literal[False] = ...,
    form: Form = ...,
    backend: through_fla.Where = ...,
) -> Tensor: ...


@overload
def parallax(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = ...,
    window: int | None = ...,
    causal: bool = ...,
    block: int = ...,
    state: KeyValues | None = ...,
    return_state: Literal[True],
    form: Form = ...,
    backend: through_fla.Where = ...,
) -> tuple[Tensor, KeyValues]: ...


def parallax(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
    causal: bool = True,
    block: int = 64,
    state: KeyValues | None = None,
    return_state: bool = False,
    form: Form = "chunk",
    backend: through_fla.Where = "auto",
) -> Tensor | tuple[Tensor, KeyValues]:
    """Attend by softmax, tilted along ``r``; computed in float32 or wider.

    Args:
        q: queries ``[B, H, m, D]``; the last is at the last key.
        r: directions ``[B, H, m, D]``.
        k: keys ``[B, H_k, n, D]``, ``n >= m``; query head ``h`` uses ``h // (H / H_k)``.
        v: values ``[B, H_k, n, E]``.
        scale: ``c``, of ``q . k`` alone; ``D ** -0.5`` by default.
        window: keys that a query sees at most, itself the last (causal only).
        causal: whether keys behind a query are hidden.
        block: queries worked on at a time at most; 64 is fastest on a processor, or close to it.
        state: keys and values before these, from an earlier call.
        return_state: whether to return those to keep: all, or as many as the window reaches.
        form: how to compute it.
        backend: ``auto`` takes ``fla`` for tensors on a GPU where it is installed.

    Returns:
        ``[B, H, m, E]`` of ``q``'s type, and if asked the state.

    Raises:
        UserError: shapes that do not fit; a window below 1 or without ``causal``; a backend that
            cannot serve this.
    """
    check("parallax", q, k, v, block)
    check_choice("parallax", "form", form, Form)
    if r.shape != q.shape or r.dtype != q.dtype:
        raise UserError(
            f"parallax: directions r {list(r.shape)} of {r.dtype} for queries {list(q.shape)} of "
            f"{q.dtype}; give one for each query, of its type"
        )
    if window is not None and (window < 1 or not causal):
        raise UserError(
            f"parallax: window={window} with causal={causal}; a window holds 1 key or more, the "
            "query's own and those before it"
        )
    kept = KeyValues.joined("parallax", q, k, v, state)
    k, v = kept
    scale = q.shape[3] ** -0.5 if scale is None else scale
    if through_fla.taken("parallax", backend, form, q, k, v, causal):
        out = through_fla.parallax(q, r, k, v, scale, window)
    elif form == "naive":
        out = naive(q, r, k, v, scale=scale, window=window, causal=causal)
    elif form == "recurrent":
        out = recurrent(q, r, k, v, scale=scale, window=window, causal=causal)
    else:
        out = chunked(q, r, k, v, scale=scale, window=window, causal=causal, block=block)
    if window is not None:
        reach = max(0, k.shape[2] - window + 1)
        kept = KeyValues(k[:, :, reach:], v[:, :, reach:])
    return (out, kept) if return_state else out


def parallax_step(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    state: KeyValues | None,
    *,
    scale: float | None = None,
    window: int | None = None,
) -> tuple[Tensor, KeyValues]:
    """Attend from one further token, ``[B, H, 1, D]``, and return output and state."""
    return parallax(q, r, k, v, scale=scale, window=window, state=state, return_state=True)


def naive(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    window: int | None,
    causal: bool,
) -> Tensor:
    """The first of the two formulas, with a table of all pairs."""
    wide, (m, n) = wide_type(q.dtype), (q.shape[2], k.shape[2])
    k, v = (x.to(wide).repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    apart = torch.arange(n - m, n, device=q.device)[:, None] - torch.arange(n, device=q.device)
    scores = scale * q.to(wide) @ k.mT
    if causal:
        hidden = apart < 0 if window is None else (apart < 0) | (apart >= window)
        scores = scores.masked_fill(hidden, -torch.inf)
    p, slant = scores.softmax(-1), r.to(wide) @ k.mT
    along = (p * slant).sum(-1, keepdim=True)
    return ((p @ v) * (1 + along) - (p * slant) @ v).to(q.dtype)


def recurrent(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    window: int | None,
    causal: bool,
) -> Tensor:
    """Token by token, each against the keys up to it."""
    m, n = q.shape[2], k.shape[2]
    parts = []
    for t in range(m):
        some, stop = slice(t, t + 1), n - m + t + 1 if causal else n
        start = 0 if window is None else max(0, stop - window)
        k_t, v_t = k[:, :, start:stop], v[:, :, start:stop]
        row = naive(q[:, :, some], r[:, :, some], k_t, v_t, scale=scale, window=None, causal=False)
        parts.append(row)
    return torch.cat(parts, 2) if parts else q.new_empty(*q.shape[:3], v.shape[3])


def chunked(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    window: int | None,
    causal: bool,
    block: int,
) -> Tensor:
    """The second formula, block by block of the queries."""
    blocks = row_blocks((q, r), k, v, scale=scale, causal=causal, window=window, block=block)
    return assembled([tilted(each, each.rows[1]) for each in blocks], q, v)

"""Attention to selected keys by matrix products: any edit, with its log-sum-exp, differentiable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lmms_causal.kernels.partial import Part
from lmms_causal.kernels.rotation import wide_type

__all__ = ["explicit"]


def explicit(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    allowed: Tensor | None = None,
    softcap: float | None = None,
    terms: Sequence[tuple[str, Tensor]] = (),
) -> Part:
    """Attend in float32 (float64 for float64). For one query this is faster than fused kernels.

    Args:
        q: queries ``[B, H, r, d]``.
        k: keys ``[B, H_k, n, d]``.
        v: values ``[B, H_k, n, e]``.
        scale: factor of the scores.
        allowed: True where a query may see a key, broadcastable to ``[B, H, r, n]``; None for all.
        softcap: ``s -> softcap * tanh(s / softcap)`` on scaled scores.
        terms: kinds (see :mod:`lmms_causal.kernels.edits`) and products ``u_i w_j``, broadcastable
            to ``[B, H, r, n]``.

    Returns:
        Outputs ``[B, H, r, e]`` of ``q``'s type and the log-sum-exp ``[B, H, r]``; 0 and ``-inf``
        for a query that sees nothing.
    """
    batch, heads, rows, width = q.shape
    shared, n = k.shape[1:3]
    wide = wide_type(q.dtype)
    grouped = (q.to(wide) * scale).reshape(batch, shared, heads // shared * rows, width)
    scores = (grouped @ k.to(wide).transpose(-1, -2)).view(batch, heads, rows, n)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    for kind, product in terms:
        if kind == "add":
            scores = scores + product.to(wide)
        elif kind == "gain":
            scores = scores + product.to(wide) * scores.abs()
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    top = scores.detach().amax(-1, keepdim=True) if n else scores.new_zeros(batch, heads, rows, 1)
    weights = (scores - top.masked_fill(top == -torch.inf, 0)).exp()
    total = weights.sum(-1, keepdim=True)
    closed = total == 0
    total = total.masked_fill(closed, 1)
    for kind, product in terms:
        if kind == "weigh":
            weights = weights * (1 + product.to(wide))
    weighted = weights.view(batch, shared, heads // shared * rows, n) @ v.to(wide)
    out = weighted.view(batch, heads, rows, v.shape[-1]) / total
    lse = (total.log() + top).masked_fill(closed, -torch.inf).squeeze(-1)
    return out.to(q.dtype), lse

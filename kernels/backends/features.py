"""Additive edits as further columns of queries and keys, for kernels that take no bias.

A term ``u_i w_j`` added to the scaled scores is one more product in ``q . k``: with a column
``u / scale`` behind the queries and ``w`` behind the keys,

    scale (q . k + (u / scale) w) = scale q . k + u w

Values are padded with zeros to the same width, without which torch leaves its fused kernel. Exact
in float32 to rounding. In half precision a column would round ``w`` to 8 or 11 bits, so it comes as
a high and a low part, and ``1 / scale`` is split into a power of two, beside ``u``, and the rest.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmms_causal.kernels.edits import Edits
from lmms_causal.kernels.rotation import wide_type

__all__ = ["columns", "largest", "with_features"]


def columns(edits: Edits, dtype: torch.dtype) -> int:
    """How many columns the terms take."""
    if wide_type(dtype) is dtype:
        return len(edits.terms)
    return sum(2 if term.rows is None else 3 for term in edits.terms)


def largest(dtype: torch.dtype) -> float:
    """The largest amount that a column of this type can add."""
    return 3e4 if dtype is torch.float16 else 1e30


def with_features(
    q: Tensor, k: Tensor, v: Tensor, edits: Edits, scale: float, multiple: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values, all of one width, whose plain scores are the edited ones.

    Keys are given to every query head on its own where a term differs between heads that share.

    Args:
        q: ``[B, H, m, d]``.
        k: ``[B, H_k, n, d]``.
        v: ``[B, H_k, n, e]``; outputs are the first ``e`` columns.
        edits: with terms of kind ``add`` alone, finite ones. ``head_scale`` is not seen to.
        scale: factor of the scores, positive.
        multiple: make the width a multiple of this.
    """
    if not edits.terms:
        return q, k, v
    batch, heads, m, _ = q.shape
    if any(term.keys.shape[1] > 1 for term in edits.terms):
        groups = heads // k.shape[1]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    power = 2.0 ** round(-math.log2(scale))
    wide, exact = wide_type(q.dtype), wide_type(q.dtype) is q.dtype
    beside_q: list[Tensor] = []
    beside_k: list[Tensor] = []
    for term in edits.terms:
        w = term.keys.to(wide) / (scale * power)
        u = w.new_full((1, 1, m), power) if term.rows is None else term.rows.to(wide) * power
        if exact:
            beside_q, beside_k = [*beside_q, u], [*beside_k, w]
            continue
        w_high, u_high = w.to(q.dtype), u.to(q.dtype)
        beside_q += [u_high, u_high]
        beside_k += [w_high, (w - w_high.to(wide)).to(q.dtype)]
        if term.rows is not None:
            beside_q.append((u - u_high.to(wide)).to(q.dtype))
            beside_k.append(w_high)
    q = torch.cat([q, *(x.expand(batch, heads, -1)[..., None] for x in beside_q)], -1)
    k = torch.cat([k, *(x.expand(batch, k.shape[1], -1)[..., None] for x in beside_k)], -1)
    width = -(-max(q.shape[-1], v.shape[-1]) // multiple) * multiple
    return (
        F.pad(q, (0, width - q.shape[-1])),
        F.pad(k, (0, width - k.shape[-1])),
        F.pad(v, (0, width - v.shape[-1])),
    )

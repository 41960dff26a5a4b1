"""Attention over a part of the keys, with its log-sum-exp, and the merge of such parts.

Softmax attention over keys in several parts is the average of the attention over each part,
weighted by the parts' shares of the softmax sum: with ``lse_c`` the log of part ``c``'s sum,

    lse = log sum_c exp lse_c          o = sum_c exp(lse_c - lse) o_c

so that parts may differ in what the query or the keys are, and each runs on a fused kernel. The
public operator of torch does not return ``lse``; the private ones beneath it do. They are tried on
a small case before their first use and left alone if they fail it (``_works``).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import chain, islice

import torch
from torch import Tensor

from lmms_causal.kernels.rotation import wide_type

__all__ = ["Part", "attend", "attend_explicit", "merge", "products"]

Part = tuple[Tensor, Tensor]

_SCORES = 1 << 22  # scores held at a time by the explicit path: 16 MB in float32
_FEW = 1 << 17  # below so many numbers, a stack of all parts is cheaper than a loop over them


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    causal: bool = False,
    mask: Tensor | None = None,
    softcap: float | None = None,
) -> Part:
    """Attend to these keys alone.

    Without a mask and a cap this is a fused kernel, on the processor for every floating type.

    Args:
        q: queries ``[B, H, m, d]``.
        k: keys ``[B, H_k, n, d]``; query head ``h`` uses key head ``h // (H / H_k)``.
        v: values ``[B, H_k, n, e]``.
        scale: factor of the scores.
        causal: let query ``i`` see keys ``0 .. n - m + i`` only: the last query sees the last key.
        mask: True where a query may see a key, ``[B or 1, H or 1, m, n]``; on top of ``causal``.
        softcap: ``s -> softcap * tanh(s / softcap)`` on scaled scores.

    Returns:
        The outputs ``[B, H, m, e]`` of ``q``'s type and the log-sum-exp of the scores ``[B, H, m]``
        in float32 (float64 for float64). A query that sees no key has output 0 and ``-inf``.
    """
    m, n = q.shape[2], k.shape[2]
    if not m or not n:
        return _nothing(q, v)
    if mask is not None or softcap is not None or not _fusable(q, k, v):
        return attend_explicit(q, k, v, scale=scale, causal=causal, mask=mask, softcap=softcap)
    if not causal or m == 1:
        return _packed(q, k, v, scale)
    if m == n:
        return _fused(q, k, v, scale, True)
    if m > n:  # the first queries come before every key
        closed, seen = _nothing(q[:, :, : m - n], v), _fused(q[:, :, m - n :], k, v, scale, True)
        return torch.cat([closed[0], seen[0]], 2), torch.cat([closed[1], seen[1]], 2)
    before, square = slice(0, n - m), slice(n - m, n)  # fused kernels align at the first key
    out, lse = merge(
        (
            _packed(q, k[:, :, before], v[:, :, before], scale),
            _fused(q, k[:, :, square], v[:, :, square], scale, True),
        )
    )
    return out.to(q.dtype), lse


def attend_explicit(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    causal: bool = False,
    mask: Tensor | None = None,
    softcap: float | None = None,
) -> Part:
    """Do what ``attend`` does by matrix products, in float32 and in bounded memory."""
    batch, heads, m, _ = q.shape
    n, wide = k.shape[2], wide_type(q.dtype)
    if not m or not n:
        return _nothing(q, v)
    keys, values = k.to(wide).transpose(-1, -2), v.to(wide)
    rows = max(1, _SCORES // (batch * heads * n))
    out = q.new_empty(batch, heads, m, v.shape[-1])
    lse = q.new_empty(batch, heads, m, dtype=wide)
    for first in range(0, m, rows):
        some = q[:, :, first : first + rows].to(wide)
        count = some.shape[2]
        seen = max(0, n - m + first + count) if causal else n  # no row of these sees further
        scores = torch.matmul(_grouped(some, k), keys[..., :seen]).mul_(scale)
        scores = scores.view(batch, heads, count, seen)
        if softcap is not None:
            scores.div_(softcap).tanh_().mul_(softcap)
        if causal:
            last = torch.arange(first, first + count, device=q.device)[:, None] + (n - m)
            scores.masked_fill_(torch.arange(seen, device=q.device) > last, -torch.inf)
        if mask is not None:
            scores.masked_fill_(~mask[:, :, first : first + count, :seen], -torch.inf)
        if seen:
            top = scores.amax(-1, keepdim=True)
            top.masked_fill_(top == -torch.inf, 0)  # a closed row has weights exp(-inf) = 0
            total = scores.sub_(top).exp_().sum(-1, keepdim=True)
            lse[:, :, first : first + count] = (total.log() + top).squeeze(-1)
            weighted = torch.matmul(_grouped(scores, k), values[:, :, :seen])
            weighted = weighted.view(batch, heads, count, -1).div_(total.masked_fill(total == 0, 1))
            out[:, :, first : first + count] = weighted.to(out.dtype)
        else:
            lse[:, :, first : first + count] = -torch.inf
            out[:, :, first : first + count] = 0
    return out, lse


def merge(parts: Iterable[Part]) -> Part:
    """Join attention over disjoint parts of the keys to attention over all of them.

    An iterator is consumed as it yields, so that one part is held at a time.

    Args:
        parts: outputs ``[..., m, e]`` and log-sum-exps ``[..., m]``, at least one.

    Returns:
        Outputs ``[..., m, e]`` in float32 (float64 for float64) and their log-sum-exp ``[..., m]``.

    Raises:
        ValueError: there is no part.
    """
    stream = iter(parts)
    first = next(stream, None)
    if first is None:
        raise ValueError("there is no part to merge; pass at least one")
    out, lse = first[0].to(wide_type(first[0].dtype)), first[1]
    if out.numel() <= _FEW:
        every = [first, *stream]
        return _stacked(every) if len(every) > 1 else (out, lse)
    second = list(islice(stream, 1))
    if second and out.data_ptr() == first[0].data_ptr():
        out = out.clone()  # what follows works in place
    for other, other_lse in chain(second, stream):
        share = torch.sigmoid(other_lse - lse).nan_to_num_(0)  # both closed: inf - inf
        out.lerp_(other.to(out.dtype), share.unsqueeze(-1))
        lse = torch.logaddexp(lse, other_lse)
    return out, lse


def products(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Return the scaled inner products ``[H, r, n]`` of rows ``[H, r, d]`` with keys ``[H, n, d]``.

    For a few rows in float32 the keys are the left factor: half the time, measured on a processor.
    """
    if q.shape[1] <= 8 and q.dtype in (torch.float32, torch.float64):
        return torch.bmm(k, q.transpose(1, 2)).transpose(1, 2).contiguous().mul_(scale)
    result = q.new_empty(q.shape[0], q.shape[1], k.shape[1])
    return result.baddbmm_(q, k.transpose(1, 2), beta=0, alpha=scale)  # scaled before it is rounded


def _stacked(parts: list[Part]) -> Part:
    lses = torch.stack([lse for _, lse in parts])
    shares = lses.softmax(0).nan_to_num_(0)
    outs = torch.stack([out for out, _ in parts]).to(lses.dtype)
    return outs.mul_(shares.unsqueeze(-1)).sum(0), lses.logsumexp(0)


def _nothing(q: Tensor, v: Tensor) -> Part:
    """What queries get that see no key."""
    lse = q.new_full(q.shape[:-1], -torch.inf, dtype=wide_type(q.dtype))
    return q.new_zeros(*q.shape[:-1], v.shape[-1]), lse


def _grouped(x: Tensor, k: Tensor) -> Tensor:
    """Make the heads ``[B, H, m, d]`` that share a key head rows of it ``[B, H_k, G m, d]``."""
    return x.reshape(x.shape[0], k.shape[1], -1, x.shape[-1])


def _packed(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Part:
    """Run without a mask: heads that share keys become rows, and the keys are read once for them.

    For one query and bfloat16 this takes a tenth of the time of a row for each head.
    """
    out, lse = _fused(_grouped(q, k), k, v, scale, False)
    return out.reshape(*q.shape[:-1], v.shape[-1]), lse.reshape(q.shape[:-1])


def _fusable(q: Tensor, k: Tensor, v: Tensor) -> bool:
    return q.shape[-1] == v.shape[-1] and _works(q.device.type, q.dtype)


def _fused(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> Part:
    """Call the private operator of the device; ``causal`` needs as many queries as keys."""
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    if q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, scale=scale
        )
        return out, lse
    # Not run on a device by us. It takes neither shared key heads nor lengths that it does not pad.
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        q, k, v, None, True, 0.0, causal, scale=scale
    )
    return out, lse[:, :, : q.shape[2]]


@cache
def _works(device: str, dtype: torch.dtype) -> bool:
    """Whether the private operator exists and does on a small case what the explicit path does."""
    if device not in ("cpu", "cuda"):
        return False
    numbers = torch.arange(2 * 4 * 9 * 8, dtype=torch.float32).mul_(12.9898).sin_()
    q = numbers.view(2, 4, 9, 8).to(device, dtype)
    k, v = q[:, 1:3], q[:, 2:4]
    for rows, causal in ((9, True), (5, False)):
        some = q[:, :, :rows]
        want = attend_explicit(some, k, v, scale=0.3, causal=causal)
        try:
            got = _fused(some, k, v, 0.3, causal)
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return False
        if any(a.shape != b.shape for a, b in zip(got, want, strict=True)):
            return False
        slack = 8 * torch.finfo(dtype).eps
        if (got[0] - want[0]).abs().max() > slack or (got[1] - want[1]).abs().max() > max(
            slack, 1e-5
        ):
            return False
    return True

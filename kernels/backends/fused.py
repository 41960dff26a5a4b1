"""torch's fused kernel for one block of queries and keys, with or without its log-sum-exp.

It is fused on the processor only where values are as wide as keys and masks have four dimensions
(or two), so both are seen to here. The operator that returns the log-sum-exp is private: it is
tried on a small case before its first use (``_works``), and what it does is written out where it
fails.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lmms_causal.kernels.backends.explicit import explicit
from lmms_causal.kernels.partial import Part
from lmms_causal.kernels.rotation import wide_type

__all__ = ["fused", "widened"]


def fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    mask: Tensor | None = None,
    causal: bool = False,
    lse: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attend to all of these keys, or to those that a mask leaves.

    Args:
        q: queries ``[B, H, r, d]``.
        k: keys ``[B, H_k, n, d]``.
        v: values ``[B, H_k, n, e]``.
        scale: factor of the scores.
        mask: added to the scores, float32 (float64 for float64) ``[B or 1, H or 1, r or 1, n]``.
        causal: whether query ``i`` sees keys ``0 .. i`` only; without a mask.
        lse: whether to return the log-sum-exp, which has no gradient here.

    Returns:
        Outputs ``[B, H, r, e]`` and the log-sum-exp ``[B, H, r]`` or None. Rows whose mask is
        ``-inf`` throughout are 0 and ``-inf``.
    """
    width = v.shape[-1]
    q, k, v = widened(q, k, v)
    on_processor = q.device.type == "cpu"
    if lse:
        if on_processor and _works(q.dtype):
            out, sums = _with_lse(q, k, v, scale, mask, causal)
        else:
            out, sums = _written_out(q, k, v, scale, mask, causal)
        return out[..., :width], sums
    shared = k.shape[1] == q.shape[1]
    if mask is not None and not on_processor:  # masked kernels there know neither
        groups = q.shape[1] // k.shape[1]
        k, v, shared = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), True
        full = mask.to(q.dtype).expand(*mask.shape[:2], q.shape[2], k.shape[2])
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=full, scale=scale)
        out = out.masked_fill((mask == -torch.inf).all(-1, keepdim=True), 0)
    else:
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=not shared
        )
    return out[..., :width], None


def widened(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of one width: zeros behind the narrower change no score."""
    width = max(q.shape[-1], v.shape[-1])
    if q.shape[-1] < width:
        q, k = F.pad(q, (0, width - q.shape[-1])), F.pad(k, (0, width - k.shape[-1]))
    if v.shape[-1] < width:
        v = F.pad(v, (0, width - v.shape[-1]))
    return q, k, v


def _with_lse(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None, causal: bool
) -> Part:
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, causal, attn_mask=mask, scale=scale
    )
    if mask is not None:  # it says 0 where a row is closed
        lse = lse.masked_fill((mask == -torch.inf).all(-1), -torch.inf)
    return out, lse


def _written_out(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None, causal: bool
) -> Part:
    rows = torch.arange(q.shape[2], device=q.device)[:, None]
    allowed = torch.arange(k.shape[2], device=q.device) <= rows if causal else None
    terms = () if mask is None else (("add", mask),)
    return explicit(q, k, v, scale=scale, allowed=allowed, terms=terms)


@cache
def _works(dtype: torch.dtype) -> bool:
    """Whether the private operator exists and does on a small case what is written out."""
    numbers = torch.arange(2 * 4 * 9 * 8, dtype=torch.float32).mul_(12.9898).sin_()
    q = numbers.view(2, 4, 9, 8).to(dtype)
    k, v = q[:, 1:3], q[:, 2:4]
    mask = numbers[: 2 * 9 * 9].view(2, 1, 9, 9).to(wide_type(dtype)).clone()
    mask[:, :, ::2, 3:] = -torch.inf
    mask[:, :, 5] = -torch.inf
    for some, causal in ((None, True), (mask, False)):
        try:
            got = _with_lse(q, k, v, 0.3, some, causal)
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return False
        want = _written_out(q, k, v, 0.3, some, causal)
        slack = 8 * torch.finfo(dtype).eps
        if not torch.allclose(got[0], want[0], atol=slack, rtol=0) or not torch.allclose(
            got[1], want[1], atol=max(slack, 1e-5), rtol=0
        ):
            return False
    return True

"""Attention weights written out, as a specification of what fused kernels compute."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lmms_causal.errors import UserError

__all__ = ["for_all_heads", "weights_of"]


def weights_of(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    *,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Return attention weights ``[R, H, q, n]``, float32, and what is allowed ``[R, 1, q, n]``.

    Rows in which nothing is allowed (padding) are zero.

    Args:
        module: the attention module, for its defaults.
        query: ``[R, H, q, d]``.
        key: ``[R, H_kv, n, d]``.
        mask: as the original implementation takes it: bool, additive, or None for causal (or full)
            attention.
        scaling: of the scores; ``d ** -0.5`` if None.
        is_causal: the module's if None.
        softcap: bound of the scores, as in Gemma 2.
        s_aux: learned sinks, which are refused.

    Raises:
        UserError: the model has attention sinks that are parameters.
    """
    if s_aux is not None:
        raise UserError(
            f"{type(module).__name__} has learned attention sinks; its weights cannot be edited"
        )
    length, count = query.shape[2], key.shape[2]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    keys = for_all_heads(key, query.shape[1])
    scores = (query @ keys.transpose(2, 3)).float() * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is None:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        allowed = torch.ones(length, count, dtype=torch.bool, device=query.device)
        if causal and length > 1:
            allowed = allowed.tril(count - length)
        allowed = allowed[None, None].expand(query.shape[0], 1, -1, -1)
    else:
        mask = mask[..., :count]
        allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        if mask.dtype != torch.bool:
            scores = scores + mask.float().masked_fill(~allowed, 0.0)
        allowed = allowed.expand(query.shape[0], -1, -1, -1)
    scores = scores.masked_fill(~allowed, -math.inf)
    return scores.softmax(dim=-1).nan_to_num(0.0), allowed


def for_all_heads(states: Tensor, heads: int) -> Tensor:
    """Return keys or values ``[R, H_kv, n, d]`` as ``[R, H, n, d]``, repeated for their groups."""
    groups = heads // states.shape[1]
    return states.repeat_interleave(groups, dim=1) if groups > 1 else states

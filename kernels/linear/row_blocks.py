"""Softmax weights some rows at a time, for operators that need them more than once.

A block has its weights in memory while it is worked on, so that memory is bounded whatever the
length, and what is read again is still in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.kernels.linear.heads import split_heads
from lmms_causal.kernels.rotation import wide_type

__all__ = ["RowBlock", "assembled", "row_blocks", "tilted"]

_WEIGHTS = 1 << 19  # in memory at a time: 2 MB in float32, measured
_FEWEST = 32  # rows that are worth a matrix product


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Some queries of some key heads, and the keys they may see.

    Attributes:
        weights: ``softmax(scale q k^T)`` over the keys that a row may see, ``[p, R, n]``; ``p`` key
            heads, ``R`` rows: the query heads that share them, times tokens.
        rows: tensors ``[p, R, D]`` that go with the queries: the queries themselves, and others.
        k: ``[p, n, D]``.
        v: ``[p, n, E]``.
    """

    weights: Tensor
    rows: tuple[Tensor, ...]
    k: Tensor
    v: Tensor


def row_blocks(
    queries: tuple[Tensor, ...],
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    causal: bool,
    window: int | None,
    block: int,
) -> Iterator[RowBlock]:
    """Go through all queries; :func:`assembled` puts results together again.

    Args:
        queries: queries ``[B, H, m, D]``, first those that are scored; the last query is at the
            last key.
        k: keys ``[B, H_k, n, D]``.
        v: values ``[B, H_k, n, E]``.
        scale: factor of the scores.
        causal: whether keys behind a query are hidden.
        window: how many keys a query sees at most, itself the last; None for all.
        block: tokens in a block at most.
    """
    wide, (batch, shared, n, _) = wide_type(k.dtype), k.shape
    m, groups = queries[0].shape[2], queries[0].shape[1] // shared
    keys, values = (x.to(wide).flatten(0, 1) for x in (k, v))
    folded = [split_heads(x, shared).flatten(0, 1) for x in queries]  # [B H_k, G, m, D]
    tokens = min(block, max(_FEWEST, _WEIGHTS // max(1, groups * n)))
    for first in range(0, m, tokens):
        count = min(tokens, m - first)
        stop = n - m + first + count if causal else n
        start = max(0, n - m + first - window + 1) if causal and window is not None else 0
        planes = max(1, _WEIGHTS // (groups * count * (stop - start)))
        hidden = _hidden(n - m + first, count, start, stop, window, k) if causal else None
        for at in range(0, batch * shared, planes):
            rows = tuple(x[at : at + planes, :, first : first + count] for x in folded)
            q, *others = (x.flatten(1, 2).to(wide) for x in rows)
            k_b, v_b = keys[at : at + planes, start:stop], values[at : at + planes, start:stop]
            scores = torch.bmm(q * scale, k_b.mT)
            if hidden is not None:
                scores.unflatten(1, (groups, count)).masked_fill_(hidden, -torch.inf)
            yield RowBlock(scores.softmax(-1), (q, *others), k_b, v_b)


def assembled(parts: list[Tensor], q: Tensor, v: Tensor) -> Tensor:
    """Results ``[p, R, E]`` of the blocks, in order, as ``[B, H, m, E]`` of ``q``'s type."""
    batch, heads, m, _ = q.shape
    if not parts:
        return q.new_empty(batch, heads, m, v.shape[3])
    groups, shared = heads // v.shape[1], batch * v.shape[1]
    columns, some, planes = [], [], 0
    for part in parts:
        some.append(part)
        planes += len(part)
        if planes == shared:
            joined = torch.cat(some) if len(some) > 1 else part
            columns.append(joined.unflatten(1, (groups, -1)).to(q.dtype))
            some, planes = [], 0
    return torch.cat(columns, 2).reshape(batch, heads, m, v.shape[3])


def tilted(block: RowBlock, r: Tensor) -> Tensor:
    """``sum_j p_j (1 - r . (k_j - sum_l p_l k_l)) v_j``, ``[p, R, E]``, for ``r [p, R, D]``."""
    slant = torch.bmm(r, block.k.mT)
    mean = (block.weights * slant).sum(-1, keepdim=True)
    return torch.bmm((1 + mean - slant).mul_(block.weights), block.v)


def _hidden(at: int, count: int, start: int, stop: int, window: int | None, like: Tensor) -> Tensor:
    """Which pairs are hidden of queries at ``at ..`` and keys ``start .. stop``."""
    i = torch.arange(at, at + count, device=like.device)[:, None]
    j = torch.arange(start, stop, device=like.device)
    return j > i if window is None else (j > i) | (j <= i - window)

"""Attention probabilities in chunks of query rows: every row once, the whole matrix never.

The weights of ``m`` queries over ``n`` keys take ``B * H * m * n`` numbers. Whoever wants their
sums, means or maxima needs each row only once, so :func:`stream` computes some rows at a time, and
drops keys that none of them may see. What to make of the rows is in
:mod:`lmms_causal.kernels.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.errors import UserError

__all__ = ["ELEMENTS", "Attention", "Chunk", "stream"]

ELEMENTS = 2**22
"""Weights computed at a time; a few arrays of so many float32 numbers are alive at once."""

Mask = Tensor | Callable[[slice], Tensor]


@dataclass(frozen=True)
class Attention:
    """One call of attention, before its softmax.

    Attributes:
        query: ``[B, H, m, d]``, positions applied.
        key: ``[B, Hk, n, d]`` with ``H`` a multiple of ``Hk``; query head ``h`` reads key head
            ``h // (H / Hk)``.
        scale: of the scores; ``d ** -0.5`` if None.
        causal: whether a query sees no later key. The last query is at the last key: query ``i``
            is at column ``n - m + i``.
        mask: further restriction, broadcastable to ``[B, H, m, n]``: bool (True: may be seen) or
            added to the scores (closed at half the type's minimum and below); or a function of a
            slice of query rows that returns these rows of it.
        padding: number ``[B]`` of columns on the left that nobody sees; None for none.
        softcap: bound of the scores, as in Gemma 2.

    Raises:
        UserError: shapes that do not fit each other.
    """

    query: Tensor
    key: Tensor
    scale: float | None = None
    causal: bool = True
    mask: Mask | None = None
    padding: Tensor | None = None
    softcap: float | None = None

    def __post_init__(self) -> None:
        query, key = self.query.shape, self.key.shape
        if len(query) != 4 or len(key) != 4 or query[0] != key[0] or query[3] != key[3]:
            raise UserError(
                f"attention of queries {list(query)} over keys {list(key)}: they must be "
                "[B, H, m, d] and [B, Hk, n, d] with the same B and d"
            )
        if query[1] % key[1]:
            raise UserError(
                f"{query[1]} query heads over {key[1]} key heads: the first must be a multiple"
            )
        if self.causal and query[2] > key[2]:
            raise UserError(
                f"causal attention of {query[2]} queries over {key[2]} keys: the last query is at "
                "the last key, so there must be a key for each query"
            )

    @property
    def offset(self) -> int:
        """Column of the first query."""
        return self.key.shape[2] - self.query.shape[2]

    def rows(self, rows: slice) -> tuple[Tensor, Tensor | None]:
        """Return what some queries may see, and what is added to their scores.

        Both are broadcastable to ``[B, H, r, n]``; the second is None if nothing is added.
        """
        count = self.key.shape[2]
        columns = torch.arange(count, device=self.query.device)
        allowed = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.query.device)
        if self.causal:
            queries = torch.arange(rows.start, rows.stop, device=columns.device) + self.offset
            allowed = columns[None, None, None] <= queries[:, None]
        if self.padding is not None:
            first = self.padding.to(columns.device)[:, None, None, None]
            allowed = allowed & (columns >= first)
        bias = None
        if self.mask is not None:
            given = self.mask(rows) if callable(self.mask) else _rows(self.mask, rows)
            if given.dtype != torch.bool:
                opened = given > torch.finfo(given.dtype).min / 2
                bias, given = given, opened
            allowed = allowed & given
        length = rows.stop - rows.start
        return allowed.expand(-1, -1, length, count), bias


@dataclass(frozen=True)
class Chunk:
    """The weights of some query rows over the keys ``0 .. c`` that any of them may see.

    Attributes:
        rows: which of the call's queries, a slice.
        weights: ``[B, H, r, c]``, float32 (float64 of float64 queries). Rows that may see nothing
            are zero.
        allowed: what may be seen, broadcastable to ``weights``.
        queries: column ``[r]`` of each query.
        keys: column ``[c]`` of each key.
        total: number of keys ``n`` of the call; the weights of ``c .. n`` are zero.
        logsumexp: ``[B, H, r]`` of the scores, or None where it was not asked for; -inf for rows
            that may see nothing.
    """

    rows: slice
    weights: Tensor
    allowed: Tensor
    queries: Tensor
    keys: Tensor
    total: int
    logsumexp: Tensor | None = None


def stream(
    attention: Attention,
    rows: slice = slice(None),
    *,
    elements: int = ELEMENTS,
    logsumexp: bool = False,
) -> Iterator[Chunk]:
    """Yield the weights of a range of queries in chunks, in order.

    Args:
        attention: the call.
        rows: consecutive queries; all by default.
        elements: numbers in one chunk, at least those of one row.
        logsumexp: whether the chunks come with it, which takes two more passes over each.
    """
    batch, heads, length, width = attention.query.shape
    groups, count = attention.key.shape[1:3]
    dtype = torch.promote_types(attention.query.dtype, torch.float32)
    scale = width**-0.5 if attention.scale is None else attention.scale
    key = attention.key.to(dtype).transpose(2, 3)
    start, stop, _ = rows.indices(length)
    step = max(1, elements // (batch * heads * count))
    for first in range(start, stop, step):
        part = slice(first, min(first + step, stop))
        size = part.stop - part.start
        allowed, bias = attention.rows(part)
        seen = allowed.flatten(0, 2).any(dim=0).nonzero()
        width_seen = int(seen[-1]) + 1 if len(seen) else 1
        allowed = allowed[..., :width_seen]
        query = attention.query[:, :, part].to(dtype) * scale
        scores = query.reshape(batch, groups, -1, width) @ key[..., :width_seen]
        scores = scores.view(batch, heads, size, width_seen)
        if attention.softcap is not None:
            scores.div_(attention.softcap).tanh_().mul_(attention.softcap)
        if bias is not None:
            scores.add_(bias[..., :width_seen].to(dtype).nan_to_num(neginf=0.0))
        scores.masked_fill_(~allowed, -math.inf)
        highest = scores.amax(dim=-1) if logsumexp else None
        weights = scores.softmax(dim=-1)
        del scores
        closed = ~allowed.any(dim=-1, keepdim=True)
        if closed.any():
            weights.masked_fill_(closed, 0.0)
        total = None
        if highest is not None:  # the greatest weight is exp(greatest score - logsumexp)
            total = highest - weights.amax(dim=-1).log()
            total.masked_fill_(closed[..., 0], -math.inf)
        yield Chunk(
            rows=part,
            weights=weights,
            allowed=allowed,
            queries=torch.arange(part.start, part.stop, device=key.device) + attention.offset,
            keys=torch.arange(width_seen, device=key.device),
            total=count,
            logsumexp=total,
        )
        del weights  # before the next chunk is made


def _rows(mask: Tensor, rows: slice) -> Tensor:
    return mask if mask.shape[-2] == 1 else mask[..., rows, :]

"""What is read off attention weights, in one pass over them: values for keys and between blocks.

To be fed to :func:`~lmms_causal.kernels.statistics.collect`; the legend of shapes is there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.statistics import by_label, members
from lmms_causal.kernels.stream import Chunk

__all__ = ["BlockMeans", "ColumnMeans", "FutureInfluence"]


class ColumnMeans:
    """How much each key gets from the queries that may see it, on average, ``[B, H, n]``.

    ``sum_i a[i, j] / #{i : i may see j}``, as in attention calibration (arXiv 2406.15765). NaN for
    keys that no chosen query may see.

    Args:
        rows: which queries count, bool ``[B, m]`` over the queries of the call; all by default.
        sums: give the sums instead of the means.
    """

    def __init__(self, rows: Tensor | None = None, *, sums: bool = False) -> None:
        self._rows = rows
        self._sums = sums
        self._total: Tensor | None = None
        self._count: Tensor | None = None

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        weights = chunk.weights
        batch, heads, size, width = weights.shape
        counted = _chosen(self._rows, chunk)
        if self._total is None or self._count is None:
            self._total = weights.new_zeros(batch, heads, chunk.total)
            self._count = weights.new_zeros(batch, chunk.allowed.shape[1], chunk.total)
        left = counted[:, None, None].expand(batch, heads, 1, size)
        self._total[..., :width] += (left @ weights)[:, :, 0]
        visible = chunk.allowed & counted.bool()[:, None, :, None]
        self._count[..., :width] += visible.sum(dim=2)

    def result(self) -> Tensor:
        """Return means, or sums."""
        if self._total is None or self._count is None:
            raise ValueError("no rows were added")
        if self._sums:
            return self._total
        return self._total / self._count.masked_fill(self._count == 0, torch.nan)


class BlockMeans:
    """Mean weight between blocks of queries and blocks of keys, ``[B, H, Sq, Sk]``.

    The mean over all pairs of a query of block ``i`` and a key of block ``j``, those that the query
    may not see included, as between sentences (arXiv 2506.19143). NaN for blocks without a query
    in the pass, or without a key.

    Args:
        queries: block of each query, ``[B, m]``, in ``0 .. Sq``; negative for none.
        keys: block of each key, ``[B, n]``, in ``0 .. Sk``; negative for none.
        shape: ``(Sq, Sk)``.
    """

    def __init__(self, queries: Tensor, keys: Tensor, shape: tuple[int, int]) -> None:
        self._queries = members(queries, shape[0])
        self._keys = members(keys, shape[1])
        self._total: Tensor | None = None
        self._count = torch.zeros(())

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        inner = by_label(chunk, self._keys)  # [B, H, r, Sk]
        member = self._queries[:, chunk.rows].to(inner)
        found = member.transpose(1, 2)[:, None].expand(-1, inner.shape[1], -1, -1) @ inner
        self._total = found if self._total is None else self._total.add_(found)
        self._count = self._count.to(member) + member.sum(dim=1)

    def result(self) -> Tensor:
        """Return the means."""
        if self._total is None:
            raise ValueError("no rows were added")
        pairs = self._count[:, :, None] * self._keys.sum(dim=1)[:, None].to(self._count)
        return self._total / pairs.masked_fill(pairs == 0, torch.nan)[:, None]


class FutureInfluence:
    """Mean weight that a key gets from queries some way behind it, ``[B, H, n]``.

    FAI of arXiv 2510.13554: for the key at column ``s`` the mean over chosen queries at columns
    ``t`` with ``s + low <= t <= s + high``. NaN where there is none.

    Args:
        low, high: the nearest and the farthest distance.
        rows: which queries count, bool ``[B, m]`` over the queries of the call; all by default.
    """

    def __init__(self, low: int, high: int, rows: Tensor | None = None) -> None:
        if not 0 <= low <= high:
            raise UserError(
                f"future influence at {low} to {high} tokens: 0 <= low <= high must hold"
            )
        self._low, self._high = low, high
        self._rows = rows
        self._total: Tensor | None = None
        self._count: Tensor | None = None

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        weights = chunk.weights
        batch, heads = weights.shape[:2]
        counted = _chosen(self._rows, chunk)
        if self._total is None or self._count is None:
            self._total = weights.new_zeros(batch, heads, chunk.total)
            self._count = weights.new_zeros(batch, chunk.total)
        first = max(0, int(chunk.queries[0]) - self._high)
        last = min(chunk.total, int(chunk.queries[-1]) - self._low + 1)
        if last <= first:
            return
        gaps = chunk.queries[:, None] - torch.arange(first, last, device=weights.device)
        near = ((gaps >= self._low) & (gaps <= self._high)).to(weights)  # [r, k]
        picked = near * counted[:, :, None]  # [B, r, k]
        width = min(last, len(chunk.keys))
        band = weights[..., first:width] * picked[:, None, :, : width - first]
        self._total[..., first:width] += band.sum(dim=2)
        self._count[..., first:last] += picked.sum(dim=1)

    def result(self) -> Tensor:
        """Return the means."""
        if self._total is None or self._count is None:
            raise ValueError("no rows were added")
        return self._total / self._count.masked_fill(self._count == 0, torch.nan)[:, None]


def _chosen(rows: Tensor | None, chunk: Chunk) -> Tensor:
    """1 for queries of a chunk that count, ``[B, r]``, in the type of its weights."""
    batch, size = chunk.weights.shape[0], chunk.weights.shape[2]
    if rows is None:
        return chunk.weights.new_ones(batch, size)
    return rows[:, chunk.rows].to(chunk.weights).expand(batch, size)

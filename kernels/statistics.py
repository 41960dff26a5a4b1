"""What is read off attention weights, in one pass over them: values for every query.

A statistic takes the chunks of :func:`~lmms_causal.kernels.stream.stream` one after the other and
then says its result; :func:`collect` feeds any number of them from one stream. None ever holds more
than its result and a chunk. Statistics of keys are in
:mod:`~lmms_causal.kernels.column_statistics`.

Shapes: ``B`` rows of a batch, ``H`` heads, ``m`` queries of the call, ``r`` queries chosen for the
pass, ``n`` keys. A query and a key are at the same place if they have the same *column*; the last
query is at the last column. Where nothing may be seen, weights are zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.stream import ELEMENTS, Attention, Chunk, stream

__all__ = [
    "Distances",
    "LogSumExp",
    "Masses",
    "Selected",
    "Statistic",
    "Strongest",
    "by_label",
    "collect",
    "consume",
    "members",
]


class Statistic(Protocol):
    """Something that is computed from the rows of an attention matrix, each seen once."""

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        ...

    def result(self) -> Tensor:
        """Return what the rows so far amount to."""
        ...


def collect(
    attention: Attention,
    statistics: Mapping[str, Statistic],
    rows: slice = slice(None),
    *,
    elements: int = ELEMENTS,
) -> dict[str, Tensor]:
    """Compute several statistics in one pass over the weights.

    Args:
        attention: the call.
        statistics: fresh ones, by name.
        rows: consecutive queries to go over; all by default.
        elements: numbers in one chunk (see :func:`~lmms_causal.kernels.stream.stream`).

    Returns:
        The results by name.

    Raises:
        UserError: no row is chosen.
    """
    length = attention.query.shape[2]
    if not len(range(*rows.indices(length))):
        raise UserError(f"attention statistics of rows {rows}: none of {length} queries is chosen")
    wanted = any(isinstance(statistic, LogSumExp) for statistic in statistics.values())
    return consume(stream(attention, rows, elements=elements, logsumexp=wanted), statistics)


def consume(chunks: Iterable[Chunk], statistics: Mapping[str, Statistic]) -> dict[str, Tensor]:
    """Feed every chunk to every statistic, and return the results by name.

    For weights that are no plain softmax, whose chunks the caller makes.
    """
    for chunk in chunks:
        for statistic in statistics.values():
            statistic.add(chunk)
    return {name: statistic.result() for name, statistic in statistics.items()}


class _PerQuery:
    """A statistic with a value for every query, ``[B, H, r, ...]``."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def result(self) -> Tensor:
        return torch.cat(self._parts, dim=2)


class LogSumExp(_PerQuery):
    """Logarithm of the sum of exponentiated scores, ``[B, H, r]``; -inf where nothing is seen."""

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        if chunk.logsumexp is None:
            raise ValueError("the stream was not asked for logsumexp")
        self._parts.append(chunk.logsumexp)


class Masses(_PerQuery):
    """How much weight each query puts on the keys of each label, ``[B, H, r, S]``.

    Args:
        labels: a label for each key, ``[B, n]``, in ``0 .. S``; negative for none.
        count: number of labels ``S``.
    """

    def __init__(self, labels: Tensor, count: int) -> None:
        super().__init__()
        self._member = members(labels, count)

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        self._parts.append(by_label(chunk, self._member))


class Strongest(_PerQuery):
    """The column of the key with the greatest weight, ``[B, H, r]``; the first of equals.

    -1 for queries that may see nothing.
    """

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        value, index = chunk.weights.max(dim=-1)
        self._parts.append(index.masked_fill_(value == 0, -1))


class Selected(_PerQuery):
    """The weights on some keys as they are, ``[B, H, r, k]``: the heat of queries over a picture.

    Args:
        columns: the keys ``[k]``.
        average: mean over heads, ``[B, 1, r, k]``.
    """

    def __init__(self, columns: Tensor, *, average: bool = False) -> None:
        super().__init__()
        self._columns = columns
        self._average = average

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        columns = self._columns.to(chunk.weights.device)
        seen = columns < len(chunk.keys)
        picked = chunk.weights[..., columns.clamp(max=len(chunk.keys) - 1)] * seen
        self._parts.append(picked.mean(dim=1, keepdim=True) if self._average else picked)


class Distances(_PerQuery):
    """Mean distance of a query to what it attends to, ``[B, H, r, w]``.

    For each window ``W`` it is ``sum_s a[t, s] min(|t - s|, W)``, in tokens; with None the distance
    is not cut off. The mean over ``t`` without a window is a head's span, and with a window it is
    WAAD (arXiv 2510.13554, section 4).

    Args:
        windows: the values of ``W``.
    """

    def __init__(self, windows: Sequence[int | None] = (None,)) -> None:
        super().__init__()
        self._windows = tuple(windows)

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        weights = chunk.weights
        gaps = (chunk.queries[:, None] - chunk.keys).abs()
        cut = [gaps if window is None else gaps.clamp(max=window) for window in self._windows]
        weighted = torch.stack(cut, dim=-1).to(weights.dtype)  # [r, c, w]
        batch, heads, rows, _ = weights.shape
        found = weights.flatten(0, 1).transpose(0, 1) @ weighted  # [r, B H, w]
        self._parts.append(found.transpose(0, 1).reshape(batch, heads, rows, -1))


def members(labels: Tensor, count: int) -> Tensor:
    """Which label each token has, as 0 and 1, ``[B, n, S]``."""
    if labels.numel() and int(labels.max()) >= count:
        raise UserError(f"label {int(labels.max())} of a token: there are {count} labels, from 0")
    return (labels[..., None] == torch.arange(count, device=labels.device)).float()


def by_label(chunk: Chunk, member: Tensor) -> Tensor:
    """Weights summed over the keys of each label, ``[B, H, r, S]``."""
    batch, heads, rows, width = chunk.weights.shape
    found = chunk.weights.reshape(batch, heads * rows, width) @ member[:, :width].to(chunk.weights)
    return found.view(batch, heads, rows, -1)

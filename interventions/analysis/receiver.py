"""Receiver heads: heads that attend, from far behind, to few sentences (arXiv 2506.19143).

Formulas and defaults are those of the released code. Matrices are means between sentences, of
:class:`~lmms_causal.kernels.column_statistics.BlockMeans`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lmms_causal.errors import UserError

__all__ = [
    "Receiver",
    "head_kurtosis",
    "kurtosis",
    "receiver_heads",
    "receiver_scores",
    "reliability",
    "vertical_scores",
]

PROXIMITY = 4


class Receiver(NamedTuple):
    """A head with its mean kurtosis."""

    layer: int
    head: int
    kurtosis: float


def vertical_scores(matrix: Tensor, proximity: int = PROXIMITY) -> Tensor:
    """Return how much each sentence gets from those well behind it, ``[..., S]``.

    The score of sentence ``j`` is the mean of ``matrix[i, j]`` over ``i >= j + proximity``; NaN for
    the last ``proximity`` sentences.

    Args:
        matrix: mean attention of sentence ``i`` to sentence ``j``, ``[..., S, S]``.
        proximity: how many sentences behind a sentence do not count.
    """
    size = matrix.shape[-1]
    places = torch.arange(size, device=matrix.device)
    far = places[:, None] >= places + proximity
    total = torch.where(far, matrix, 0.0).sum(dim=-2)
    count = far.sum(dim=0)
    return total / count.to(total).masked_fill(count == 0, torch.nan)


def kurtosis(scores: Tensor) -> Tensor:
    """Return Fisher's kurtosis over the last dimension, biased, NaN left out.

    ``m4 / m2^2 - 3`` with central moments; NaN where there is no variance.
    """
    known = ~scores.isnan()
    count = known.sum(dim=-1, keepdim=True)
    mean = scores.nansum(dim=-1, keepdim=True) / count
    centred = torch.where(known, scores - mean, 0.0).double()
    count = count[..., 0]
    second = centred.square().sum(dim=-1) / count
    fourth = centred.pow(4).sum(dim=-1) / count
    negligible = (mean[..., 0].double() * 1e-7).square()  # float32 noise about a constant
    found = fourth / second.square() - 3
    return found.masked_fill(second <= negligible, torch.nan).to(scores.dtype)


def head_kurtosis(vertical: Sequence[Tensor]) -> Tensor:
    """Return each head's kurtosis, the mean over responses, ``[L, H]``.

    Args:
        vertical: for each response the vertical scores ``[L, H, S]``.
    """
    return torch.stack([kurtosis(scores) for scores in vertical]).nanmean(dim=0)


def receiver_heads(means: Tensor, count: int = 20) -> list[Receiver]:
    """Return the heads of greatest kurtosis, greatest first, from means ``[L, H]``."""
    ranked = means.nan_to_num(-torch.inf).flatten().sort(descending=True, stable=True)
    heads = means.shape[1]
    return [
        Receiver(index // heads, index % heads, value)
        for value, index in zip(ranked.values.tolist(), ranked.indices.tolist(), strict=True)
        if value > -torch.inf
    ][:count]


def receiver_scores(vertical: Tensor, heads: Sequence[Receiver]) -> Tensor:
    """Return each sentence's mean score over receiver heads, ``[S]``, from ``[L, H, S]``."""
    if not heads:
        raise UserError("receiver scores need at least one receiver head")
    return torch.stack([vertical[it.layer, it.head] for it in heads]).mean(dim=0)


def reliability(vertical: Sequence[Tensor]) -> float:
    """Return how far even and odd responses agree on the heads' kurtosis: Pearson's r.

    The first layer is left out, as in the released code.

    Args:
        vertical: for each response the vertical scores ``[L, H, S]``.

    Raises:
        UserError: fewer than two responses.
    """
    if len(vertical) < 2:
        raise UserError("the reliability of head kurtosis needs two responses or more")
    even, odd = (head_kurtosis(vertical[i::2])[1:].flatten() for i in (0, 1))
    known = ~(even.isnan() | odd.isnan())
    return float(torch.corrcoef(torch.stack([even[known], odd[known]]))[0, 1])

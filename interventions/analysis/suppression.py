"""Suppression of sentences: what hiding one does to the predictions in later ones.

From arXiv 2506.19143, released code: the text is read again with a sentence's keys hidden from all
queries, in all layers and heads, and each token's prediction compared with the undisturbed one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["divergences", "log_means", "relative"]

TEMPERATURE = 0.6
TOP_P = 0.9999
LIMIT = 100
FLOOR = 1e-9


def divergences(
    base: Tensor,
    suppressed: Tensor,
    *,
    temperature: float = TEMPERATURE,
    top_p: float | None = TOP_P,
    limit: int = LIMIT,
) -> Tensor:
    """Return ``KL(base || suppressed)`` of predictions, in nats, ``[T]``.

    Args:
        base, suppressed: logits ``[T, V]``.
        temperature: of both distributions.
        top_p: only the fewest tokens that have this probability under ``base`` are compared, both
            distributions renormalised over them; None for all tokens. That both are cut to the
            tokens of ``base`` is our reading.
        limit: at most so many tokens.
    """
    wide = torch.promote_types(base.dtype, torch.float32)
    first = (base.to(wide) / temperature).log_softmax(dim=-1)
    second = (suppressed.to(wide) / temperature).log_softmax(dim=-1)
    if top_p is not None:
        count = min(limit, first.shape[-1])
        first, kept = first.topk(count, dim=-1)
        second = second.gather(-1, kept)
        before = first.exp().cumsum(dim=-1) - first.exp()
        beyond = before >= top_p
        first = first.masked_fill(beyond, -torch.inf).log_softmax(dim=-1)
        second = second.masked_fill(beyond, -torch.inf).log_softmax(dim=-1)
    terms = torch.where(first > -torch.inf, first.exp() * (first - second), 0.0)
    return terms.sum(dim=-1).clamp(min=0)


def log_means(found: Sequence[Tensor], sentences: Sequence[tuple[int, int]]) -> Tensor:
    """Return the effect of hiding each sentence on each later one, ``[affected, suppressed]``.

    The mean over a sentence's tokens of ``log(KL + 1e-9)``, of the predictions that follow its
    tokens; NaN on the diagonal and above.

    Args:
        found: for each hidden sentence, divergences ``[n]`` at all tokens of the text.
        sentences: tokens ``[start, stop)`` of each sentence.
    """
    count = len(sentences)
    matrix = torch.full((count, count), torch.nan, dtype=torch.float64)
    for hidden, values in enumerate(found):
        logs = (values.double() + FLOOR).log()
        for affected in range(hidden + 1, count):
            start, stop = sentences[affected]
            matrix[affected, hidden] = logs[start:stop].mean()
    return matrix


def relative(matrix: Tensor) -> Tensor:
    """Return a matrix less the mean of each row, as its plots show it; NaN stays."""
    known = (~matrix.isnan()).sum(dim=1, keepdim=True)
    return matrix - matrix.nansum(dim=1, keepdim=True) / known

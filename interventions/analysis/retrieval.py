"""Retrieval heads: heads whose strongest weight is on the token that is copied (arXiv 2404.15574).

The visual counterpart, :func:`looks`, is ours: the strongest weight is anywhere on a picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from lmms_causal.errors import UserError

__all__ = ["copies", "looks", "mean_scores", "recall", "retrieval_heads", "retrieval_scores"]

THRESHOLD = 0.1
RECALL = 0.5


def copies(strongest: Tensor, written: Tensor, context: Tensor, needle: tuple[int, int]) -> Tensor:
    """Return at which steps each head copies from the needle, bool ``[..., T]``.

    A head copies at a step if the key with its greatest weight is in the needle and is the token
    that is then written.

    Args:
        strongest: column of the key with the greatest weight, by step, ``[..., T]``.
        written: the token written at each step, ``[T]``.
        context: the tokens of all columns, ``[n]``.
        needle: columns ``[start, stop)`` of the needle.
    """
    inside = (strongest >= needle[0]) & (strongest < needle[1])
    return inside & (context[strongest.clamp(min=0)] == written)


def looks(strongest: Tensor, part: Tensor) -> Tensor:
    """Return the share of steps at which each head's greatest weight is on a part, ``[...]``.

    Args:
        strongest: ``[..., T]``.
        part: which columns are the part, bool ``[n]``.
    """
    on = part[strongest.clamp(min=0)] & (strongest >= 0)
    return on.float().mean(dim=-1)


def retrieval_scores(
    strongest: Tensor,
    written: Tensor,
    context: Tensor,
    needle: tuple[int, int],
    *,
    distinct: bool = False,
) -> Tensor:
    """Return each head's score of one run: steps at which it copies, over the needle's length.

    Args:
        strongest, written, context, needle: as in :func:`copies`.
        distinct: count every token of the needle once, as in the paper's formula, which is then at
            most 1; the released code counts every copying step.

    Returns:
        ``[...]``, float32.
    """
    copied = copies(strongest, written, context, needle)
    length = needle[1] - needle[0]
    if not distinct:
        return copied.float().sum(dim=-1) / length
    places = torch.arange(*needle, device=strongest.device)
    hit = (strongest[..., None] == places) & copied[..., None]
    return hit.any(dim=-2).float().sum(dim=-1) / length


def recall(answer: str, needle: str) -> float:
    """Return the share of the needle's words that the answer has (ROUGE-1 recall, no stemming)."""
    wanted, given = (re.findall(r"\w+", text.lower()) for text in (needle, answer))
    if not wanted:
        raise UserError("the needle has no word")
    found = sum(min(wanted.count(word), given.count(word)) for word in set(wanted))
    return found / len(wanted)


def mean_scores(
    runs: Sequence[tuple[Tensor, float]], least: float = RECALL
) -> tuple[Tensor | None, int]:
    """Return each head's mean score over the runs that count, and how many these are.

    Args:
        runs: scores ``[L, H]`` and the answer's recall of each run.
        least: a run counts if its recall is above that.

    Returns:
        ``[L, H]``, or None if no run counts.
    """
    counted = [scores for scores, found in runs if found > least]
    return (torch.stack(counted).mean(dim=0) if counted else None), len(counted)


def retrieval_heads(scores: Tensor, threshold: float = THRESHOLD) -> list[tuple[int, int, float]]:
    """Return ``(layer, head, score)`` of the heads above a threshold, highest first."""
    found = [
        (layer, head, value)
        for layer, row in enumerate(scores.tolist())
        for head, value in enumerate(row)
        if value > threshold
    ]
    return sorted(found, key=lambda it: -it[2])

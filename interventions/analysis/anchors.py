"""Importance of sentences from continuations sampled before and behind them (arXiv 2506.19143).

``R_i`` are rollouts from the text before sentence ``i``, so that their first sentence stands in its
place; ``R_{i+1}`` are those that keep it. Definitions and defaults are those of the released code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lmms_causal.errors import UserError

__all__ = [
    "Counterfactual",
    "Embed",
    "Importance",
    "Rollout",
    "counterfactual",
    "divergence",
    "on_later_sentences",
    "over_determination",
    "resampling",
]

SIMILAR = 0.8
MATCHING = 0.7
FLOOR = 1e-9

Embed = Callable[[Sequence[str]], Tensor]
"""Texts to vectors ``[n, D]``; the paper's is all-MiniLM-L6-v2."""

By = Literal["correct", "answer"]


@dataclass(frozen=True)
class Rollout:
    """One sampled continuation.

    Attributes:
        sentence: the first sentence it wrote.
        answer: the answer it came to.
        correct: whether that is right; None if it is not known.
        sentences: all sentences it wrote, where effects on later ones are asked for.
    """

    sentence: str
    answer: str
    correct: bool | None = None
    sentences: tuple[str, ...] = ()


class Importance(NamedTuple):
    """How much a sentence changes the answer: in accuracy, and in nats; 0 for empty groups."""

    accuracy: float
    kl: float


class Counterfactual(NamedTuple):
    """As :class:`Importance`, with the share of rollouts that wrote something different."""

    accuracy: float
    kl: float
    different: float


def resampling(before: Sequence[Rollout], behind: Sequence[Rollout], by: By) -> Importance:
    """Return ``acc(R_{i+1}) - acc(R_i)`` and ``KL(p(R_i) || p(R_{i+1}))``.

    With answers that were forced at once, by words that end the thinking, this is forced-answer
    importance.

    Args:
        before: ``R_i``.
        behind: ``R_{i+1}``.
        by: whether ``p`` is of correct answers (the released code's default) or of answers.
    """
    gain = _accuracy(behind) - _accuracy(before) if before and behind else 0.0
    return Importance(gain, divergence(before, behind, by))


def counterfactual(
    sentence: str,
    before: Sequence[Rollout],
    behind: Sequence[Rollout],
    embed: Embed,
    by: By,
    *,
    similar: float = SIMILAR,
    absolute: bool = False,
) -> Counterfactual:
    """Return what changes if something of another meaning is written.

    ``acc(different) - acc(R_{i+1})``, whose sign is opposite to that of :func:`resampling`, and
    ``KL(p(different) || p(R_{i+1} and similar))``.

    Args:
        sentence: the original sentence.
        before: ``R_i``; different are those whose first sentence has a cosine below ``similar``.
        behind: ``R_{i+1}``.
        embed: makes vectors of sentences.
        by: as in :func:`resampling`.
        similar: cosine from which on two sentences mean the same.
        absolute: give the absolute value of the accuracies' difference.
    """
    if not before:
        return Counterfactual(0.0, 0.0, 0.0)
    same = _cosines(embed, [sentence], [it.sentence for it in before])[0] >= similar
    different = [it for it, alike in zip(before, same.tolist(), strict=True) if not alike]
    alike = [it for it, alike in zip(before, same.tolist(), strict=True) if alike]
    gain = _accuracy(different) - _accuracy(behind) if different and behind else 0.0
    return Counterfactual(
        abs(gain) if absolute else gain,
        divergence(different, [*behind, *alike], by),
        len(different) / len(before),
    )


def over_determination(rollouts: Sequence[Rollout]) -> float:
    """Return ``1 - unique / total`` of the sentences that were written first."""
    if not rollouts:
        return 0.0
    return 1 - len({it.sentence.strip() for it in rollouts}) / len(rollouts)


def on_later_sentences(
    sentences: Sequence[str],
    rollouts: Sequence[Sequence[Rollout]],
    embed: Embed,
    *,
    similar: float = SIMILAR,
    matching: float = MATCHING,
) -> Tensor:
    """Return how much each sentence makes each later one appear, ``[i, j]``; NaN for ``j <= i``.

    The rate at which a sentence like ``j`` appears in rollouts that keep sentence ``i``, less that
    in rollouts that replace it by something different (which is our reading of dropping it).

    Args:
        sentences: those of the original text, ``S`` of them.
        rollouts: ``R_0 .. R_S``, or ``R_0 .. R_{S-1}``.
        embed: makes vectors of sentences.
        similar: cosine from which on a first sentence keeps the meaning of the original.
        matching: cosine from which on a sentence of a rollout matches sentence ``j``.
    """
    count = len(sentences)
    effects = torch.full((count, count), torch.nan, dtype=torch.float64)
    for i in range(min(count, len(rollouts) - 1)):
        if not rollouts[i]:
            continue
        same = _cosines(embed, [sentences[i]], [it.sentence for it in rollouts[i]])[0] >= similar
        dropping = [it for it, kept in zip(rollouts[i], same.tolist(), strict=True) if not kept]
        later = sentences[i + 1 :]
        keep, drop = (_match_rates(later, r, embed, matching) for r in (rollouts[i + 1], dropping))
        effects[i, i + 1 :] = keep - drop
    return effects


def divergence(first: Sequence[Rollout], second: Sequence[Rollout], by: By) -> float:
    """Return ``KL(first || second)`` of what two groups of rollouts answer, in nats, from 0 on.

    Counts become probabilities, and 1e-9 is added to each; 0 if a group is empty.
    """
    if not first or not second:
        return 0.0
    counts = [Counter(_outcome(it, by) for it in group) for group in (first, second)]
    support = sorted(counts[0] | counts[1], key=str)
    p, q = ([count[outcome] / count.total() + FLOOR for outcome in support] for count in counts)
    return max(0.0, sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))


def _outcome(rollout: Rollout, by: By) -> str | bool:
    if by == "answer":
        return rollout.answer
    if rollout.correct is None:
        raise UserError(
            "a rollout does not say whether its answer is correct; add `correct`, or compare by "
            "answer"
        )
    return rollout.correct


def _accuracy(rollouts: Sequence[Rollout]) -> float:
    """Share of correct answers; NaN if it is not known."""
    known = [it.correct for it in rollouts]
    if any(it is None for it in known):
        return math.nan
    return sum(map(bool, known)) / len(known)


def _cosines(embed: Embed, first: Sequence[str], second: Sequence[str]) -> Tensor:
    """Cosines ``[n, m]`` of texts."""
    one, other = (
        torch.nn.functional.normalize(embed(list(texts)).double(), dim=-1)
        for texts in (first, second)
    )
    return one @ other.T


def _match_rates(
    sentences: Sequence[str], rollouts: Sequence[Rollout], embed: Embed, matching: float
) -> Tensor:
    """For each sentence the share of rollouts that have one like it, ``[S]``; 0 of none."""
    found = torch.zeros(len(sentences), dtype=torch.float64)
    if not sentences:
        return found
    for rollout in rollouts:
        if rollout.sentences:
            cosines = _cosines(embed, sentences, rollout.sentences)
            found += (cosines >= matching).any(dim=1)
    return found / max(1, len(rollouts))

"""Heads by their effect on a metric: what scores become when one head is edited.

Each document is its own control. Intervals and tests are of the mean paired difference (Student);
because there are as many tests as heads, p-values come with Benjamini and Hochberg's q-values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lmms_causal.errors import UserError

__all__ = ["HeadEffect", "effects", "measured"]

Scores = Mapping[str, float]
"""A score for each document."""


@dataclass(frozen=True)
class HeadEffect:
    """What editing one head does to a metric.

    Attributes:
        layer, head: which head.
        mean: mean of the edited score less the unedited one; negative if the head helps.
        low, high: its confidence interval.
        p: of no effect.
        q: p adjusted for the number of heads.
        documents: how many there are.
    """

    layer: int
    head: int
    mean: float
    low: float
    high: float
    p: float
    q: float
    documents: int


def measured(
    run: Callable[[str | None], Scores],
    heads: Iterable[tuple[int, int]],
    spec: Callable[[int, int], str],
    level: float = 0.95,
) -> list[HeadEffect]:
    """Run the metric once without and once for each head with its edit.

    Args:
        run: from an interventions spec, or None for the plain model, to scores.
        heads: ``(layer, head)`` pairs.
        spec: the spec that edits a head.
        level: of the confidence intervals.

    Returns:
        All effects, most harmful edit first.
    """
    plain = run(None)
    return effects(plain, {(layer, head): run(spec(layer, head)) for layer, head in heads}, level)


def effects(
    plain: Scores, edited: Mapping[tuple[int, int], Scores], level: float = 0.95
) -> list[HeadEffect]:
    """Compare scores under each head's edit with those of the plain model.

    Raises:
        UserError: fewer than two documents, or runs on different documents.
    """
    names = sorted(plain)
    if len(names) < 2:
        raise UserError(f"the effect of heads on {len(names)} documents: take two or more")
    found = []
    for (layer, head), scores in edited.items():
        if scores.keys() != plain.keys():
            raise UserError(
                f"the run with head {layer}.{head} edited has other documents than the plain one"
            )
        gaps = np.array([scores[name] - plain[name] for name in names], dtype=float)
        found.append((layer, head, *_paired(gaps, level)))
    adjusted = _false_discovery([it[-1] for it in found])
    made = [
        HeadEffect(*it, q=q, documents=len(names)) for it, q in zip(found, adjusted, strict=True)
    ]
    return sorted(made, key=lambda it: (it.mean, it.layer, it.head))


def _paired(gaps: np.ndarray, level: float) -> tuple[float, float, float, float]:
    """Mean, interval and p-value of paired differences."""
    mean, deviation = float(gaps.mean()), float(gaps.std(ddof=1))
    if deviation == 0:
        return mean, mean, mean, float(mean == 0)
    error = deviation / len(gaps) ** 0.5
    reach = float(stats.t.ppf((1 + level) / 2, len(gaps) - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, len(gaps) - 1))
    return mean, mean - reach, mean + reach, p


def _false_discovery(values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's q-values: the least ``p m / rank`` from each rank on."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    least, adjusted = 1.0, [1.0] * len(values)
    for position, index in enumerate(order):
        least = min(least, values[index] * len(values) / (len(values) - position))
        adjusted[index] = least
    return adjusted

"""Options without letters, presented in two orders: who is chosen, and does the order decide?

A letter names a place, so a model that likes "A" likes whatever stands first, and exchanging two
options exchanges their letters too. Here options are listed without letters and a choice is the
option whose own text is likeliest, so both orders ask for exactly the same thing and a method that
is invariant to the order of the options must choose the same.

Two scores no further apart than `MARGIN` are a tie, and a tie is undecided: never settled by place,
and not by a coin that a rounding error could turn. It earns what guessing among the tied options
would, and it is counted. That makes a verdict of invariance safe: a pair can only count as decided
differently if some score moved by more than `MARGIN` from one order to the other (see `tied`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lmms_causal.tasks.aggregates import by_pair, mean

__all__ = [
    "MARGIN",
    "ORDERS",
    "Choice",
    "both_orders_right",
    "choose",
    "choose_by_length",
    "early_rate",
    "flip_rate",
    "in_order",
    "tied",
    "values_of_pair",
]

Item = TypeVar("Item")

ORDERS = ("listed", "reversed")
"""The two presentations of one question: the options as listed, and in reverse."""

MARGIN = 1e-4
"""Scores closer than this are a tie; in the harness's unit, nats or nats per token.

Far above what another order of summation does to a float32 score (about 1e-5) and far below what
decides questions in practice.
"""


def in_order(options: Sequence[Item], order: str) -> list[Item]:
    """The options as this order (`ORDERS`) presents them."""
    return list(options) if order == ORDERS[0] else list(reversed(options))


def tied(scores: Sequence[float], margin: float = MARGIN) -> tuple[int, ...]:
    """Indices of the best score and of all that come within ``margin`` of it; NaN is never best.

    Let one option be best alone in one order and another in the other order. Then the difference
    of their scores went from above ``margin`` to below ``-margin``, so one of the two scores moved
    by more than ``margin``: rounding errors below that cannot fake a changed choice.

    >>> tied([-3.0, -1.0, -1.00005])
    (1, 2)
    """
    numbers = [score for score in scores if not math.isnan(score)]
    if not numbers:
        return ()
    top = max(numbers)
    return tuple(i for i, score in enumerate(scores) if score == top or top - score <= margin)


@dataclass(frozen=True)
class Choice:
    """What the scores of the options of one document decide.

    Attributes:
        index: the chosen option; None for a tie, or if no score is a number.
        credit: 1 for the right option, 0 for another; a tie of n options that holds the right one
            earns 1/n, as guessing among them would.
        tie: whether several options share the best score.
    """

    index: int | None
    credit: float
    tie: bool


def choose(scores: Sequence[float], right: int, margin: float = MARGIN) -> Choice:
    """The option that the scores choose.

    Args:
        scores: one per option, larger is better, in the same order for both presentations.
        right: index of the right option.
        margin: scores this close to the best are tied with it.
    """
    best = tied(scores, margin)
    credit = 1 / len(best) if right in best else 0.0
    return Choice(best[0] if len(best) == 1 else None, credit, len(best) > 1)


def choose_by_length(scores: Sequence[float], texts: Sequence[str], right: int) -> Choice:
    """`choose` by scores per character of the options' texts.

    For summed log-likelihoods only; a mean per token needs no correction.
    """
    lengths = [max(len(text), 1) for text in texts]
    return choose([s / length for s, length in zip(scores, lengths, strict=True)], right)


def values_of_pair(
    pair: str, order: str, options: Sequence[str], choice: Choice
) -> dict[str, Mapping[str, Any] | float | None]:
    """The values behind the metrics that compare both orders, by the metric's plain name.

    Args:
        pair: what both presentations of the question share.
        order: one of `ORDERS`.
        options: the options in the order of the scores, the same for both presentations.
        choice: what was chosen here.
    """
    view = {"pair": pair, "order": order}
    chosen = None if choice.index is None else options[choice.index]
    return {
        "consistent_acc": {**view, "credit": choice.credit},
        "position_bias": {**view, "choice": chosen},
        "first_rate": _early(order, len(options), choice.index),
        "tie_rate": float(choice.tie),
    }


def _early(order: str, count: int, index: int | None) -> float | None:
    """1 if the chosen option stands in the first half as presented, 0 if in the second."""
    if index is None:
        return None
    place = index if order == ORDERS[0] else count - 1 - index
    return 0.5 if 2 * place == count - 1 else float(2 * place < count - 1)


def both_orders_right(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Mean over pairs of the product of the credits in both orders."""
    pairs = by_pair(records, ORDERS, "order")
    return mean(first["credit"] * second["credit"] for first, second in pairs)


def flip_rate(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Position bias: the share of pairs that choose one content in one order, another in the other.

    0 for a choice that does not depend on the order, 1 for one that always goes by place. A pair
    that is undecided in one order is not counted as changed; ``tie_rate`` counts the ties.
    """
    pairs = by_pair(records, ORDERS, "order")
    return mean(_differ(first["choice"], second["choice"]) for first, second in pairs)


def _differ(first: str | None, second: str | None) -> float:
    return float(first is not None and second is not None and first != second)


def early_rate(values: Iterable[float | None]) -> float:
    """How much more often than half the choice stands in the first half of the list: -1/2 to 1/2.

    With two options: the share of choices that name the first one, minus one half. Over both orders
    a choice by content gives exactly 0.
    """
    return mean(values) - 0.5

"""From the values of single documents to one number, for both harnesses.

A value of None means that the document does not count for this metric (for example a noisy pair
in a ``_clean`` metric). A metric no document counts for is NaN, never 0.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "TOLERATED",
    "by_pair",
    "consistency",
    "count",
    "mean",
    "mean_rating",
    "mean_record",
    "mean_score",
    "position_bias",
]

TOLERATED = 0.01
"""Share of answers without a judge's rating above which a mean over the others is NaN."""


def mean(values: Iterable[float | None]) -> float:
    """Mean of the values that are there."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else float("nan")


def mean_score(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Mean ``score`` of the records that are there."""
    return mean(record["score"] for record in records if record is not None)


def by_pair(
    records: Iterable[Mapping[str, Any] | None], views: Sequence[Any], key: str
) -> list[list[Mapping[str, Any]]]:
    """The records of each pair, in the order of ``views``; incomplete pairs are left out.

    Args:
        records: mappings with ``pair`` and ``key``; None is skipped.
        views: the values of ``key`` that make a pair complete.
        key: what tells the documents of one pair apart, for example ``order`` or ``role``.

    A pair is incomplete only where a run was limited to some documents (``--limit``).
    """
    pairs: dict[Any, dict[Any, Mapping[str, Any]]] = defaultdict(dict)
    for record in records:
        if record is not None:
            pairs[record["pair"]][record[key]] = record
    return [[pair[view] for view in views] for pair in pairs.values() if set(views) <= set(pair)]


def consistency(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Mean over pairs of the product of the credits in both option orders (``cw`` and ``wc``).

    The key is not ``score``, from which lmms-eval would derive a standard error over documents.
    """
    pairs = by_pair(records, ("cw", "wc"), "order")
    return mean(first["credit"] * second["credit"] for first, second in pairs)


def position_bias(answers: Iterable[str | None]) -> float:
    """Twice the distance of the share of answers "A" from one half: 0 balanced, 1 one letter only.

    Invalid answers (None) are left out.
    """
    return 2 * abs(
        mean(None if answer is None else float(answer == "A") for answer in answers) - 0.5
    )


def mean_rating(ratings: Iterable[float | None]) -> float:
    """Mean of the ratings; NaN marks an answer without one, None one that does not count here."""
    counting = [rating for rating in ratings if rating is not None]
    rated = [rating for rating in counting if not math.isnan(rating)]
    if len(counting) - len(rated) > TOLERATED * len(counting):
        return math.nan
    return mean(rated)


def mean_record(records: Iterable[Mapping[str, Any]]) -> float:
    """`mean_rating` of the records' scores; a record without ``score`` has no rating."""
    return mean_rating(record.get("score", math.nan) for record in records)


def count(values: Iterable[float]) -> float:
    """Sum: how many answers have no rating."""
    return float(sum(values))

"""Yes/no questions as detection: accuracy, precision, recall, F1 and the share of one answer.

A record holds ``gold`` and ``pred``, each ``"yes"`` or ``"no"``; ``pred`` may be None, an answer
that commits to neither. That is wrong, and it is neither a detection nor a rejection: it lowers
accuracy and, where the gold answer is the positive one, recall, but not precision. Records that
are None do not count. A ratio with nothing in its denominator is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "accuracy",
    "f1_of_no",
    "f1_of_yes",
    "precision_of_no",
    "precision_of_yes",
    "recall_of_no",
    "recall_of_yes",
    "yes_ratio",
]

Records = Iterable[Mapping[str, Any] | None]


def accuracy(records: Records) -> float:
    """Share of records whose prediction is the gold answer."""
    present = [record for record in records if record is not None]
    return _ratio(sum(record["pred"] == record["gold"] for record in present), len(present))


def yes_ratio(records: Records) -> float:
    """Share of records that are answered "yes", of all records."""
    present = [record for record in records if record is not None]
    return _ratio(sum(record["pred"] == "yes" for record in present), len(present))


def precision_of_yes(records: Records) -> float:
    """Of the answers "yes", the share that is right."""
    right, given, _ = _counts(records, "yes")
    return _ratio(right, given)


def recall_of_yes(records: Records) -> float:
    """Of the questions with gold "yes", the share that is answered so."""
    right, _, gold = _counts(records, "yes")
    return _ratio(right, gold)


def f1_of_yes(records: Records) -> float:
    """Harmonic mean of precision and recall of "yes"."""
    right, given, gold = _counts(records, "yes")
    return _ratio(2 * right, given + gold)


def precision_of_no(records: Records) -> float:
    """Of the answers "no", the share that is right."""
    right, given, _ = _counts(records, "no")
    return _ratio(right, given)


def recall_of_no(records: Records) -> float:
    """Of the questions with gold "no", the share that is answered so."""
    right, _, gold = _counts(records, "no")
    return _ratio(right, gold)


def f1_of_no(records: Records) -> float:
    """Harmonic mean of precision and recall of "no"."""
    right, given, gold = _counts(records, "no")
    return _ratio(2 * right, given + gold)


def _counts(records: Records, positive: str) -> tuple[int, int, int]:
    """How often ``positive`` was right, was given, and is the gold answer."""
    present = [record for record in records if record is not None]
    given = [record for record in present if record["pred"] == positive]
    right = sum(record["gold"] == positive for record in given)
    return right, len(given), sum(record["gold"] == positive for record in present)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")

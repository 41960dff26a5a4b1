"""From records to the numbers of a run: the authors' macro average, bounds, and who judged.

Over the records of a judge, every mean is over the documents with a verdict, and NaN if more than
1 % of its documents have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmms_causal.tasks.aggregates import TOLERATED
from lmms_causal.tasks.judge_protocol import who_judged
from lmms_causal.tasks.mme_cc.judge import PAPER_JUDGE
from lmms_causal.tasks.mme_cc.subtasks import (
    mean_of_categories,
    mean_of_tasks,
    pooled,
)

__all__ = [
    "coverage",
    "failed",
    "judge_model",
    "judged_accuracy",
    "judged_category",
    "judged_overall",
    "judged_overall_rounded",
    "lower",
    "lower_accuracy",
    "lower_category",
    "tasks",
    "upper",
    "upper_accuracy",
    "upper_category",
]

Record = Mapping[str, Any]
Records = Sequence[Record | None]


def judged_accuracy(records: Records) -> float:
    """Accuracy of one task or file."""
    return pooled(records) if _trustworthy(records) else float("nan")


def judged_category(records: Records) -> float:
    """Mean of the accuracies of one category's tasks."""
    return mean_of_tasks(records) if _trustworthy(records) else float("nan")


def judged_overall(records: Records) -> float:
    """The authors' overall score: mean of the three categories."""
    return mean_of_categories(records) if _trustworthy(records) else float("nan")


def judged_overall_rounded(records: Records) -> float:
    """`judged_overall` with each task's accuracy rounded to one decimal of a percent first."""
    return mean_of_categories(records, digits=3) if _trustworthy(records) else float("nan")


def tasks(records: Records) -> int:
    """Number of tasks that the averages are over: 11, unless a run was limited."""
    return len(
        {record["task"] for record in _present(records) if record.get("credit", 0) is not None}
    )


def failed(records: Records) -> int:
    """Number of documents without a verdict."""
    return sum(record["failed"] for record in _present(records))


def judge_model(records: Records) -> str:
    """Who judged, as a line of text, and whether that is the paper's judge."""
    judges = [record["judge"] for record in _present(records)]
    names = " ".join(str(judge.get(key)) for judge in judges for key in ("served", "model"))
    paper = _plain(PAPER_JUDGE) in _plain(names)
    return who_judged(records) + ("" if paper else "; not the paper's judge")


def lower(records: Records) -> float:
    """Macro average of what is proven right."""
    return mean_of_categories(records, "lower")


def upper(records: Records) -> float:
    """Macro average of what is not proven wrong."""
    return mean_of_categories(records, "upper")


def coverage(records: Records) -> float:
    """Macro average of what a rule decided."""
    return mean_of_categories(records, "coverage")


def lower_category(records: Records) -> float:
    """`lower` within one category."""
    return mean_of_tasks(records, "lower")


def upper_category(records: Records) -> float:
    """`upper` within one category."""
    return mean_of_tasks(records, "upper")


def lower_accuracy(records: Records) -> float:
    """`lower` of one task or file."""
    return pooled(records, "lower")


def upper_accuracy(records: Records) -> float:
    """`upper` of one task or file."""
    return pooled(records, "upper")


def _present(records: Records) -> Iterable[Record]:
    return (record for record in records if record is not None)


def _trustworthy(records: Records) -> bool:
    present = list(_present(records))
    return failed(records) <= TOLERATED * len(present)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())

"""The twelve files, eleven tasks and three categories of MME-CC, and how the authors average them.

The overall score is the mean of the three categories and a category the mean of its tasks, as
recomputed from the 17 rows of the public leaderboard. The two maze files are one task; whether the
authors pool their questions or average two accuracies is not known to us, we pool.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from lmms_causal.tasks.aggregates import mean

__all__ = [
    "CATEGORIES",
    "SIZES",
    "SUBTASKS",
    "category_of",
    "mean_of_categories",
    "mean_of_tasks",
    "pooled",
    "task_of",
]

CATEGORIES: dict[str, tuple[str, ...]] = {
    "sr": (
        "Satellite_Image_Matching",
        "Indoor_Directional_Reasoning",
        "Indoor_Deduplication_Counting",
    ),
    "gr": ("Gomoku_Variation", "Unblock_Me", "Maze", "Jigsaw_Puzzle", "Chart_Modification"),
    "vkr": ("Sandbagging", "Counterfactual_Instruction", "Finding_Wrong_Answer"),
}
"""Spatial, geometric and visual knowledge reasoning, with their tasks."""

SIZES = {"sr": 319, "gr": 605, "vkr": 249}
"""Questions of each category in the release, as published; together 1,173."""

_MAZES = ("Maze06", "Maze10")
SUBTASKS: tuple[str, ...] = tuple(
    sorted(
        name
        for tasks in CATEGORIES.values()
        for task in tasks
        for name in (_MAZES if task == "Maze" else (task,))
    )
)
"""The names of the twelve files, which are also the folders of their pictures."""

_CATEGORY_OF = {task: category for category, tasks in CATEGORIES.items() for task in tasks}

Records = Iterable[Mapping[str, Any] | None]


def task_of(subtask: str) -> str:
    """The task a file belongs to: its own name, but ``Maze`` for both maze files."""
    return "Maze" if subtask in _MAZES else subtask


def category_of(task: str) -> str:
    """``sr``, ``gr`` or ``vkr``."""
    return _CATEGORY_OF[task]


def pooled(records: Records, key: str = "credit") -> float:
    """Mean of ``key`` over the records that are there and have a value."""
    return mean(record[key] for record in records if record is not None)


def mean_of_tasks(records: Records, key: str = "credit", digits: int | None = None) -> float:
    """Mean over the tasks that occur of their `pooled` values, each rounded to ``digits``.

    Args:
        records: mappings with ``task`` and ``key``, of one category; None is skipped.
        key: the value to average; None where a document has none.
        digits: decimals that a task's value is rounded to first; None for no rounding.
    """
    return mean(_tasks(records, key, digits).values())


def mean_of_categories(records: Records, key: str = "credit", digits: int | None = None) -> float:
    """Mean over the categories that occur of `mean_of_tasks`."""
    categories: dict[str, list[float]] = defaultdict(list)
    for task, value in _tasks(records, key, digits).items():
        categories[category_of(task)].append(value)
    return mean(mean(values) for values in categories.values())


def _tasks(records: Records, key: str, digits: int | None) -> dict[str, float]:
    members: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        if record is not None and record[key] is not None:
            members[record["task"]].append(record)
    return {task: _rounded(pooled(those, key), digits) for task, those in members.items()}


def _rounded(value: float, digits: int | None) -> float:
    return value if digits is None else round(value, digits)

"""Having AMBER's files and pictures, and the authors' matcher, at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.amber.documents import VARIANTS, build

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise."""
    build(task)


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch queries, annotations and words; pictures and matcher must be there. A line of report.

    Raises:
        UserError: something cannot be had; the message says what to do.
    """
    docs = build(task)
    pictures = len({doc["image_id"] for doc in docs})
    seen = "are not used" if VARIANTS[task].blind else "are there"
    return f"{task}: {len(docs)} queries are there, their {pictures} pictures {seen}"

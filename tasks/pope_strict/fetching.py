"""Having a task's questions and pictures at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.pope_strict import images
from lmms_causal.tasks.pope_strict.documents import VARIANTS, build

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; downloads no pictures."""
    build(task)


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch the task's questions and, where that is possible, its pictures; one line of report.

    Raises:
        UserError: something cannot be had; the message says what to do.
    """
    docs = build(task)
    if VARIANTS[task].blind:
        return f"{task}: {len(docs)} questions are there, pictures are not used"
    images.fetch_all([doc for doc in docs if images.downloads(doc["source"])], progress=progress)
    pictures = len({doc["image_id"] for doc in docs})
    return f"{task}: {len(docs)} questions and {pictures} pictures are there"

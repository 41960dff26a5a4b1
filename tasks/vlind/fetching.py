"""Having VLind-Bench at hand before a run. It is not downloaded: its layout on the hub may vary."""

from __future__ import annotations

from lmms_causal.tasks.vlind.documents import VARIANTS, build

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise."""
    build(task)


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Look for the data; one line that says what is there.

    Raises:
        UserError: something is missing; the message says what to do.
    """
    docs = build(task)
    pictures = len({doc["image_id"] for doc in docs})
    seen = "are not used" if VARIANTS[task].blind else "are there"
    return f"{task}: {len(docs)} questions are there, their {pictures} pictures {seen}"

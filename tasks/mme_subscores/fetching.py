"""Having MME at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.mme_subscores.documents import build

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; loads the rows."""
    build(task)


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch MME into the cache of ``datasets``; one line that says how much there is.

    Raises:
        UserError: it cannot be had; the message says what to do.
    """
    docs = build(task)
    return f"{task}: {len(docs)} questions about {len(docs) // 2} pictures are there"

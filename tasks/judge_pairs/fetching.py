"""Having the pairs at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.judge_pairs.documents import build

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; loads the pairs."""
    build(task)


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch the pairs into the cache of ``datasets``; one line that says how many there are.

    Raises:
        UserError: they cannot be had; the message says what to do.
    """
    return f"{task}: {len(build(task)) // 2} pairs are there"

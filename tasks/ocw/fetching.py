"""Having the walls at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.ocw.documents import build

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; fetches the files if need be."""
    build(task)


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch the task's files; one line that says how many walls there are.

    Raises:
        UserError: they cannot be had; the message says what to do.
    """
    return f"{task}: {len(build(task))} walls are there"

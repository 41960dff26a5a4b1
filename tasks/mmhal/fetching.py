"""Having the questions, the pictures and a judge at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.mmhal.documents import build

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; asks the judge two questions."""
    build(task)


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Look for what is needed; one line that says what is there.

    Raises:
        UserError: something is missing; the message says what to do.
    """
    return f"{task}: {len(build(task))} questions, their pictures and the judge are there"

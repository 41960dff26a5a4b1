"""Having the questions at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.download import sha256_of
from lmms_causal.tasks.multi_doc_qa.data import locate, read_questions
from lmms_causal.tasks.multi_doc_qa.documents import VARIANTS

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; fetches the file if need be."""
    read_questions(VARIANTS[task])


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch the task's file; one line that says what is there, with its checksum.

    Raises:
        UserError: it cannot be had; the message says what to do.
    """
    path = locate(VARIANTS[task])
    count = len(read_questions(VARIANTS[task]))
    return f"{task}: {count} questions are there ({path}, sha256 {sha256_of(path)})"

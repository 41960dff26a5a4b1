"""Having the questions, and the published matcher if it is required, at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.centerbench import official
from lmms_causal.tasks.centerbench.data import SUBSETS, locate, read_sentences

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building or scoring this task would raise."""
    for subset in SUBSETS:
        read_sentences(subset)
    official.load()


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch both files; one line that says what is there.

    Raises:
        UserError: they cannot be had; the message says what to do.
    """
    counts = [
        f"{sum(len(sentence.questions) for sentence in read_sentences(subset))} {subset}"
        for subset in SUBSETS
    ]
    folder = locate(SUBSETS[0]).parent
    return f"{task}: {' and '.join(counts)} questions are there ({folder})"

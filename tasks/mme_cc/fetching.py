"""Having questions, pictures and judge at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.mme_cc.documents import VARIANTS, build
from lmms_causal.tasks.mme_cc.images import fetch_images
from lmms_causal.tasks.mme_cc.judge import PROTOCOL

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; asks a judge for two verdicts.

    Fetches the question files if they are not in the cache; downloads no pictures.
    """
    build(task)
    if VARIANTS[task].judged:
        PROTOCOL.preflight()


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch the task's questions and, where it shows them, its pictures.

    Returns:
        One line that says what is there now. No judge is needed.

    Raises:
        UserError: something cannot be had; the message says what to do.
    """
    docs = build(task)
    if VARIANTS[task].blind:
        return f"{task}: {len(docs)} questions are there, pictures are not used"
    paths = fetch_images((path for doc in docs for path in doc["images"]), progress=progress)
    return f"{task}: {len(docs)} questions and {len(paths)} pictures are there"

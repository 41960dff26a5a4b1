"""Having a task's data at hand before a run: look for it, or fetch all of it."""

from __future__ import annotations

from lmms_causal.tasks.causal_vqa.documents import VARIANTS, build
from lmms_causal.tasks.causal_vqa.images import COCO_VARIABLE, downloads, fetch_images

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; costs seconds at most.

    Fetches the caption files if they are not in the cache; downloads no pictures.
    """
    build(task)


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch the task's caption files and, where that is allowed, its pictures.

    Returns:
        One line that says what is there now.

    Raises:
        UserError: something cannot be had; the message says what to do.
    """
    docs = build(task)
    ids = list(dict.fromkeys(doc["image_id"] for doc in docs))
    if VARIANTS[task].blind:
        return f"{task}: captions are there, pictures are not used"
    if not downloads(VARIANTS[task].source):
        return f"{task}: captions and {len(ids)} pictures are there"
    folder = fetch_images(ids, progress=progress)[0].parent
    return f"{task}: captions and {len(ids)} pictures are there ({COCO_VARIABLE} may be {folder})"

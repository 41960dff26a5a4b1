"""Having annotations and videos at hand before a run."""

from __future__ import annotations

from lmms_causal.tasks.vcrbench_causal.data import read_items, require_videos

__all__ = ["check", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; opens no video."""
    items = read_items()
    if not task.endswith("_blind"):
        require_videos(item.video for item in items)


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch the annotations; one line that says what is there.

    Videos are not fetched here: lmms-eval's own task does that, and the error names the command.

    Raises:
        UserError: annotations or videos cannot be had; the message says what to do.
    """
    check(task)
    what = "items" if task.endswith("_blind") else "items with their videos"
    return f"{task}: {len(read_items())} {what} are there"

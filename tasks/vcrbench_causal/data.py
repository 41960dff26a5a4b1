"""The annotations of VCRBench and its videos, found where lmms-eval's own task looks for them.

Annotations are one JSON list; a row is read for ``qid``, ``goal``, ``video_file`` and
``ground_truth``, the 0-based numbers of the clips in the right order.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.released import hub_file
from lmms_causal.tasks.revisions import note, revision_of_file

__all__ = ["MANIFEST", "ROOT_VARIABLE", "Item", "find_video", "read_items", "require_videos"]

ROOT_VARIABLE = "VCRBENCH_ROOT"
MANIFEST = Path(__file__).with_name("manifest.jsonl")
ANNOTATIONS = "data.json"
VIDEOS_REMEDY = (
    "set VCRBENCH_VIDEO_DIR to the folder with the mp4 files, VCRBENCH_ROOT to the folder with "
    "videos/, or have lmms-eval download them: lmms-eval --model dummy --tasks vcrbench --limit 1"
)


@dataclass(frozen=True)
class Item:
    """A video whose clips are shuffled.

    Attributes:
        key: the released ``qid``.
        goal: the activity, which is also the class that macro averages are over.
        video: file name.
        order: numbers of the clips, as their titles show them (from 1), in the right order.
    """

    key: str
    goal: str
    video: str
    order: tuple[int, ...]


def read_items() -> list[Item]:
    """All items: those of ``$VCRBENCH_ROOT/data.json`` if there is one, else the hub's.

    A file of one's own may hold any number of items. The hub's file is compared with the counts of
    the release, since no checksum of it is known.

    Raises:
        UserError: no data, or a row that is not in the released form.
    """
    root = os.environ.get(ROOT_VARIABLE)
    own = Path(root).expanduser() / ANNOTATIONS if root else None
    if own is not None and own.is_file():
        return _read(own)
    dataset = json.loads(MANIFEST.read_text(encoding="utf-8"))["dataset"]
    path = hub_file(dataset, ANNOTATIONS, ROOT_VARIABLE)
    items = _read(path)
    _require_release(items, path)
    note(f"VCRBench's {ANNOTATIONS}", revision_of_file(path))
    return items


def find_video(name: str) -> Path:
    """The local file of a video, by the rules of lmms-eval's own task.

    Raises:
        UserError: it is not there.
    """
    from lmms_eval.tasks.vcrbench.utils import vcrbench_doc_to_visual

    try:
        return Path(vcrbench_doc_to_visual({"video_file": name})[0])
    except FileNotFoundError as error:
        raise UserError(f"the VCRBench video {name} is missing; {VIDEOS_REMEDY}") from error


def require_videos(names: Iterable[str]) -> None:
    """Raise one `UserError` for all videos that are not there; none is opened."""
    missing, wanted = [], list(names)
    for name in wanted:
        try:
            find_video(name)
        except UserError:
            missing.append(name)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(wanted)} VCRBench videos are missing, the first is "
            f"{missing[0]}; {VIDEOS_REMEDY}"
        )


def _read(path: Path) -> list[Item]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}; replace the file") from error
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path} holds no list of items; replace it by the released file")
    items = []
    for number, row in enumerate(rows):
        try:
            items.append(_item(row))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: row {number} is no item of VCRBench ({type(error).__name__}: {error}); "
                "replace the file by the released one"
            ) from error
    repeated = [key for key, count in Counter(item.key for item in items).items() if count > 1]
    if repeated:
        raise UserError(f"{path}: qid {repeated[0]} occurs more than once; remove the surplus rows")
    return items


def _item(row: Mapping[str, Any]) -> Item:
    order = tuple(int(clip) + 1 for clip in row["ground_truth"])
    if len(order) < 2 or sorted(order) != list(range(1, len(order) + 1)):
        raise ValueError(f"ground_truth {list(row['ground_truth'])} is no order of clips from 0")
    goal, video = row["goal"], row["video_file"]
    if not (isinstance(goal, str) and goal and isinstance(video, str) and video):
        raise ValueError("goal and video_file must be texts")
    return Item(str(row["qid"]), goal, video, order)


def _require_release(items: list[Item], path: Path) -> None:
    expected = json.loads(MANIFEST.read_text(encoding="utf-8"))
    lengths = Counter(len(item.order) for item in items)
    found = {
        "rows": len(items),
        "goals": len({item.goal for item in items}),
        **{f"clips_{count}": lengths[count] for count in (3, 4, 5, 6, 7)},
    }
    for name, count in found.items():
        if count != expected[name]:
            raise UserError(
                f"{path} is not the release: {name} is {count} instead of {expected[name]}; delete "
                f"it to have it fetched anew, or set {ROOT_VARIABLE} to a folder to use other items"
            )

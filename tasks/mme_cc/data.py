"""The twelve released JSON files, in a folder that ``MME_CC_ROOT`` names or fetched from the hub.

The data set declares no licence, so nothing of it is in this package. It is read with ``json``:
``datasets`` refuses files whose ``extra`` has different keys.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.download import cache_dir, fetch
from lmms_causal.tasks.mme_cc.reference import split_reference
from lmms_causal.tasks.mme_cc.subtasks import SIZES, SUBTASKS, category_of, task_of
from lmms_causal.tasks.revisions import content_of, note

__all__ = ["MANIFEST", "ROOT_VARIABLE", "Item", "local_root", "locate", "read_items"]

ROOT_VARIABLE = "MME_CC_ROOT"
MANIFEST = Path(__file__).with_name("manifest.jsonl")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One question: its file and 0-based row, prompt, pictures in order, and reference in parts."""

    subtask: str
    row: int
    prompt: str
    images: tuple[str, ...]
    reference: str
    criteria: str


def local_root() -> Path | None:
    """The user's own copy of the data set, or None if it is to be downloaded.

    Raises:
        UserError: ``MME_CC_ROOT`` names no folder.
    """
    given = os.environ.get(ROOT_VARIABLE)
    if not given:
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"{ROOT_VARIABLE}={given} is no folder; it must be a copy of the data set MaxwellWen/"
            "MME-CC (JSON files and picture folders), or unset to have it downloaded"
        )
    return folder


def locate(file: str, url: str) -> Path:
    """The local copy of one JSON file, downloaded into the cache if need be.

    Raises:
        UserError: it is not in the given folder, or cannot be downloaded or read.
    """
    if folder := local_root():
        path = folder / file
        if not path.is_file():
            raise UserError(
                f"{ROOT_VARIABLE}={folder} has no file {file}; put the file from {url} there, or "
                f"unset {ROOT_VARIABLE} to have it downloaded"
            )
        return path
    return fetch(
        url,
        cache_dir("mme_cc", file),
        remedy=f"put a copy of the data set into a folder and set {ROOT_VARIABLE} to it",
        check=lambda got: _check(got, Path(file).stem),
    )


def read_items() -> list[Item]:
    """All questions, file by file in alphabetical order.

    A release with other category sizes than the published ones is read, with a warning.

    Raises:
        UserError: no data, or a row that is not in the released form.
    """
    lines = MANIFEST.read_text(encoding="utf-8").splitlines()
    items: list[Item] = []
    paths: list[Path] = []
    for source in sorted((json.loads(line) for line in lines), key=lambda one: one["file"]):
        paths.append(locate(source["file"], source["url"]))
        items += _read(paths[-1], Path(source["file"]).stem)
    if local_root() is None:
        note("data set MaxwellWen/MME-CC", content_of(paths))
    found = Counter(category_of(task_of(item.subtask)) for item in items)
    if found != SIZES:
        _log.warning(
            "MME-CC: %d questions (%s) instead of the published 1,173 (%s): scores are not "
            "comparable with published ones",
            len(items),
            ", ".join(f"{name} {found[name]}" for name in SIZES),
            ", ".join(f"{name} {size}" for name, size in SIZES.items()),
        )
    return items


def _check(path: Path, stem: str) -> None:
    _read(path, stem)


def _read(path: Path, stem: str) -> list[Item]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); replace it") from error
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path} is no list of questions; replace it by the released file")
    items = []
    for number, row in enumerate(rows):
        try:
            items.append(_item(row, number, stem))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: row {number} is no MME-CC question ({type(error).__name__}: {error}); "
                "replace the file by the released one"
            ) from error
    return items


def _item(row: Mapping[str, Any], number: int, stem: str) -> Item:
    if not isinstance(row["prompt"], str) or not row["prompt"].strip():
        raise ValueError("no prompt")
    images = tuple(_inside(path) for path in row["image_list"])
    if not images:
        raise ValueError("no picture")
    reference, criteria = split_reference(row["ground_truth"]["answer"])
    if not reference and not criteria:
        raise ValueError("no reference answer")
    (subtask,) = {name for name in _names(row, images) if name in SUBTASKS} or {stem}
    if task_of(subtask) != task_of(stem):
        raise ValueError(f"it belongs to {subtask}")
    return Item(subtask, number, row["prompt"], images, reference, criteria)


def _names(row: Mapping[str, Any], images: tuple[str, ...]) -> Iterator[str]:
    """The name of the question's sub-task: the folder of its first picture, else in ``extra``."""
    folder, _, name = images[0].partition("/")
    if name:
        yield folder
        return
    extra = row.get("extra") or {}
    yield str(extra.get("Subtask") or extra.get("subtask") or "").strip().replace(" ", "_")


def _inside(path: str) -> str:
    """The path, which must stay inside the data set: it is joined to folders and to a URL."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\\" in path:
        raise ValueError(f"picture path {path!r} leaves the data set")
    return str(parts)

"""The pictures behind the documents: COCO val2014 and VCR, by folder or (COCO) one by one.

COCO pictures are public and are fetched when a document first needs them, a window of documents
ahead, so a short run downloads a short list and a full run is not slowed down by waiting for one
picture at a time. VCR pictures may only be had from their owners.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.causal_vqa.data import read_captions
from lmms_causal.tasks.download import cache_dir, fetch
from lmms_causal.tasks.parallel import each_once
from lmms_causal.tasks.pictures import open_rgb, require_decodable

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "COCO_VARIABLE",
    "VCR_VARIABLE",
    "check_folder",
    "coco_file",
    "downloads",
    "ensure_image",
    "fetch_images",
    "image_path",
    "open_image",
]

COCO_VARIABLE = "COCO_VAL2014_DIR"
VCR_VARIABLE = "VCR_IMAGES_DIR"
COCO_URL = "http://images.cocodataset.org/val2014/"
WORKERS = 16
READ_AHEAD = 32
"""Pictures fetched together when a document's own picture is missing."""

_FOLDER_MEANING = {
    COCO_VARIABLE: "the folder with COCO_val2014_*.jpg; unset it to have the pictures downloaded",
    VCR_VARIABLE: (
        "the unpacked folder vcr1images; VCR pictures need a registration and a licence agreement "
        "at https://visualcommonsense.com/download/"
    ),
}


def coco_file(image_id: int) -> str:
    """The file name of a COCO val2014 picture."""
    return f"COCO_val2014_{image_id:012d}.jpg"


def downloads(source: str) -> bool:
    """Whether pictures of this source are downloaded: COCO's, unless a folder is given."""
    return _folder(source) is None


def image_path(doc: Mapping[str, Any]) -> Path:
    """Where the document's picture is, or (COCO without a folder) will be.

    Raises:
        UserError: the folder variable names no folder, or VCR's is not set.
    """
    folder = _folder(doc["source"])
    if doc["source"] == "vcr":
        assert folder is not None
        return folder / doc["image_id"]
    return (folder or cache_dir("coco", "val2014")) / coco_file(doc["image_id"])


def ensure_image(doc: Mapping[str, Any]) -> Path:
    """The document's picture file, downloaded if it may be and is not there yet.

    Raises:
        UserError: the file is not in the given folder, or cannot be downloaded.
    """
    path = image_path(doc)
    if path.is_file():
        return path
    if not downloads(doc["source"]):
        variable = _variable(doc["source"])
        raise UserError(
            f"no image file {path} (needed by document {doc['id']}); "
            f"{variable} must be {_FOLDER_MEANING[variable]}"
        )
    ahead = [row.image_id for row in read_captions("vqa")[doc["row"] : doc["row"] + READ_AHEAD]]
    try:
        fetch_images([doc["image_id"], *ahead], progress=False)
    except UserError:
        if not path.is_file():  # only another document's picture may fail silently here
            raise
    return path


def open_image(doc: Mapping[str, Any]) -> Image.Image:
    """The document's picture, fully decoded, RGB."""
    return open_rgb(ensure_image(doc), doc["id"])


def check_folder(docs: Iterable[Mapping[str, Any]]) -> None:
    """See to it, without opening or downloading anything, that no document lacks its file.

    COCO pictures that are to be downloaded are not looked for.

    Raises:
        UserError: a folder is missing, or a file in it; the message names one such document.
    """
    documents = {(doc["source"], doc["image_id"]): doc for doc in docs}
    missing = [
        doc
        for doc in documents.values()
        if not downloads(doc["source"]) and not image_path(doc).is_file()
    ]
    if missing:
        doc, variable = missing[0], _variable(missing[0]["source"])
        raise UserError(
            f"{len(missing)} image files are missing, for example {image_path(doc)} (needed by "
            f"document {doc['id']}); {variable} must be {_FOLDER_MEANING[variable]}"
        )


def fetch_images(
    image_ids: Iterable[int | str], *, workers: int = WORKERS, progress: bool = True
) -> list[Path]:
    """Download COCO pictures into the cache in parallel; those already there cost nothing.

    Args:
        image_ids: COCO ids, repetitions allowed.
        workers: downloads at a time.
        progress: show a progress bar.

    Returns:
        The files, one per different id, in the order given.

    Raises:
        UserError: a picture could not be had. Those fetched before it stay in the cache.
    """
    folder = cache_dir("coco", "val2014")
    paths = {int(image_id): folder / coco_file(int(image_id)) for image_id in image_ids}
    absent = [path for path in paths.values() if not path.is_file()]
    each_once(_fetch_one, absent, label="COCO images", workers=workers, progress=progress)
    return list(paths.values())


def _fetch_one(path: Path) -> Path:
    return fetch(
        COCO_URL + path.name,
        path,
        remedy=f"or set {COCO_VARIABLE} to {_FOLDER_MEANING[COCO_VARIABLE]}",
        check=require_decodable,
    )


def _variable(source: str) -> str:
    return COCO_VARIABLE if source == "vqa" else VCR_VARIABLE


def _folder(source: str) -> Path | None:
    variable = _variable(source)
    given = os.environ.get(variable)
    if not given:
        if variable == VCR_VARIABLE:
            raise UserError(f"{variable} is not set; it must be {_FOLDER_MEANING[variable]}")
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise UserError(f"{variable}={given} is no folder; it must be {_FOLDER_MEANING[variable]}")
    return folder

"""The pictures: COCO val2014 (folder or download) and GQA (folder)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.causal_vqa.images import COCO_VARIABLE, fetch_images
from lmms_causal.tasks.pictures import open_rgb
from lmms_causal.tasks.released import PictureFolder

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["check_folder", "downloads", "fetch_all", "open_image"]

GQA = PictureFolder(
    "GQA_IMAGE_DIR",
    "the unpacked folder images of https://cs.stanford.edu/people/dorarad/gqa/download.html",
)
COCO = PictureFolder(
    COCO_VARIABLE, "the folder with COCO_val2014_*.jpg; unset it to have the pictures downloaded"
)
_COCO_NAME = re.compile(r"COCO_val2014_(\d{12})\.jpg")


def downloads(source: str) -> bool:
    """Whether pictures of this source are downloaded one by one."""
    return source != "gqa" and not os.environ.get(COCO_VARIABLE)


def check_folder(docs: Sequence[Mapping[str, Any]]) -> None:
    """See to it, without opening or downloading anything, that no document lacks its picture.

    Raises:
        UserError: a folder or a file in it is missing, or a COCO picture has no COCO name.
    """
    for doc in docs:
        if doc["source"] != "gqa":
            _coco_id(doc)
    here = [doc for doc in docs if not downloads(doc["source"])]
    for folder, wanted in ((GQA, True), (COCO, False)):
        folder.require([doc for doc in here if (doc["source"] == "gqa") is wanted])


def open_image(doc: Mapping[str, Any]) -> Image.Image:
    """The document's picture, RGB; downloaded if need and permission be.

    Raises:
        UserError: it cannot be had or decoded.
    """
    if downloads(doc["source"]):
        (path,) = fetch_images([_coco_id(doc)], progress=False)
        return open_rgb(path, doc["id"])
    return (GQA if doc["source"] == "gqa" else COCO).open(doc["image_id"], doc["id"])


def fetch_all(docs: Iterable[Mapping[str, Any]], *, progress: bool) -> list[Path]:
    """Download the COCO pictures of these documents into the cache."""
    return fetch_images(dict.fromkeys(_coco_id(doc) for doc in docs), progress=progress)


def _coco_id(doc: Mapping[str, Any]) -> int:
    name = _COCO_NAME.fullmatch(doc["image_id"])
    if not name:
        raise UserError(
            f"document {doc['id']} names the picture {doc['image_id']!r}, which is no file of COCO "
            "val2014 (COCO_val2014_ and twelve digits); correct its row in the question file"
        )
    return int(name[1])

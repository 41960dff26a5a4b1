"""The pictures of the questions: files of the data set, local or fetched one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lmms_causal.errors import UserError
from lmms_causal.tasks.download import cache_dir, fetch
from lmms_causal.tasks.mme_cc.data import ROOT_VARIABLE, local_root
from lmms_causal.tasks.parallel import each_once
from lmms_causal.tasks.pictures import open_rgb, require_decodable

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["check_folder", "fetch_images", "open_images"]

HUB_URL = "https://huggingface.co/datasets/MaxwellWen/MME-CC/resolve/main/"


def open_images(doc: Mapping[str, Any]) -> list[Image.Image]:
    """The document's pictures in order, fully decoded, RGB; downloaded where that is allowed.

    Raises:
        UserError: a file is missing, broken, or cannot be downloaded.
    """
    return [open_rgb(_ensure(path), doc["id"]) for path in doc["images"]]


def check_folder(docs: Iterable[Mapping[str, Any]]) -> None:
    """See to it, without opening one, that no picture is missing from the user's folder.

    Raises:
        UserError: the message counts the missing files and names one with its document.
    """
    folder = local_root()
    if folder is None:
        return
    missing = [
        (folder / path, doc["id"])
        for doc in docs
        for path in doc["images"]
        if not (folder / path).is_file()
    ]
    if missing:
        path, document = missing[0]
        raise UserError(
            f"{len(missing)} image files are missing, for example {path} (needed by document "
            f"{document}); {ROOT_VARIABLE} must hold the picture folders of the data set "
            "MaxwellWen/MME-CC, or be unset to have them downloaded"
        )


def fetch_images(paths: Iterable[str], *, progress: bool = True) -> list[Path]:
    """Have these pictures at hand, several downloads at a time; those already there cost nothing.

    Raises:
        UserError: a picture cannot be had. Those fetched before it stay in the cache.
    """
    return each_once(_ensure, paths, label="MME-CC images", progress=progress)


def _ensure(path: str) -> Path:
    if folder := local_root():
        return folder / path
    return fetch(
        HUB_URL + quote(path),
        cache_dir("mme_cc", *path.split("/")),
        remedy=f"put a copy of the data set into a folder and set {ROOT_VARIABLE} to it",
        check=require_decodable,
    )

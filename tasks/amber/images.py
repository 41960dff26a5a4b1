"""AMBER's pictures, which are on Google Drive and cannot be downloaded one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.released import PictureFolder

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FOLDER", "open_image"]

FOLDER = PictureFolder(
    "AMBER_IMAGE_DIR",
    "the unpacked folder with AMBER_1.jpg and so on, linked at "
    "https://github.com/junyangwang0410/AMBER",
)


def open_image(doc: Mapping[str, Any]) -> Image.Image:
    """The document's picture, RGB.

    Raises:
        UserError: it is missing or cannot be decoded.
    """
    return FOLDER.open(doc["image_id"], doc["id"])

"""MMHal-Bench's pictures, which are addresses in the release and files here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.released import PictureFolder

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FOLDER", "open_image"]

FOLDER = PictureFolder(
    "MMHAL_IMAGE_DIR",
    "a folder with the pictures at the addresses image_src, under the last part of each address",
)


def open_image(doc: Mapping[str, Any]) -> Image.Image:
    """The document's picture, RGB.

    Raises:
        UserError: it is missing or cannot be decoded.
    """
    return FOLDER.open(doc["image_id"], doc["id"])

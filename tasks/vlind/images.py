"""The pictures below ``VLIND_ROOT``, directly or in its folder ``images``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.pictures import open_rgb
from lmms_causal.tasks.vlind.data import DATA_VARIABLE, RELEASE

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["open_image", "require"]


def require(docs: Sequence[Mapping[str, Any]]) -> None:
    """See to it that every picture file is there; opens none.

    Raises:
        UserError: one or several are not; the message names one.
    """
    folder = _folder()
    by_name: dict[str, str] = {}
    for doc in docs:
        by_name.setdefault(doc["image_id"], doc["id"])
    missing = [name for name in by_name if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} image files are missing, for example {folder / missing[0]} (needed by "
            f"document {by_name[missing[0]]}); {DATA_VARIABLE} must hold {RELEASE.origin}"
        )


def open_image(doc: Mapping[str, Any]) -> Image.Image:
    """The document's picture, RGB.

    Raises:
        UserError: it is missing or cannot be decoded.
    """
    return open_rgb(_folder() / doc["image_id"], doc["id"])


def _folder() -> Path:
    root = RELEASE.folder()
    if root is None:
        raise UserError(f"{DATA_VARIABLE} is not set; it must name a folder with {RELEASE.origin}")
    return root / "images" if (root / "images").is_dir() else root

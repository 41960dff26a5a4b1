"""The picture of a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.mme_subscores import data

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["open_image"]


def open_image(doc: Mapping[str, Any]) -> Image.Image:
    """The document's picture, RGB.

    Raises:
        UserError: it cannot be decoded.
    """
    try:
        return data.picture(doc["row"])
    except (OSError, SyntaxError) as error:
        raise UserError(f"MME's picture of document {doc['id']} is corrupt: {error}") from error

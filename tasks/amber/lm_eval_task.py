"""What the lm-eval task files name: documents and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.amber import documents, images

if TYPE_CHECKING:
    import datasets
    from PIL import Image


def dataset(variant: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``custom_dataset``: lm-eval adds the model's arguments and ``--metadata``, not used here."""
    return {"test": documents.dataset(variant)}


def picture(doc: Mapping[str, Any]) -> list[Image.Image]:
    """``doc_to_image``: the document's picture, for the one placeholder in its text."""
    return [images.open_image(doc)]

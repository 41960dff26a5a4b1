"""What the lm-eval task files name: documents, pictures, and their placeholders in the text.

lm-eval has no judge, so only the tasks scored by rules are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.mme_cc import documents, images

if TYPE_CHECKING:
    import datasets
    from PIL import Image

Doc = Mapping[str, Any]


def dataset(variant: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``custom_dataset``: lm-eval adds the model's arguments and ``--metadata``, not used here."""
    return {"test": documents.dataset(variant)}


def text(doc: Doc) -> str:
    """``doc_to_text``: one placeholder for each picture, then the prompt."""
    return "<image>" * len(doc["images"]) + str(doc["text"])


def pictures(doc: Doc) -> list[Image.Image]:
    """``doc_to_image``: the document's pictures in order."""
    return images.open_images(doc)

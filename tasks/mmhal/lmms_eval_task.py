"""What the lmms-eval task files name: documents and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.mmhal import documents, images

if TYPE_CHECKING:
    from PIL import Image


mmhal = documents_of("mmhal", documents.dataset)
mmhal_blind = documents_of("mmhal_blind", documents.dataset)


@one_line_errors
def picture(doc: Mapping[str, Any]) -> list[Image.Image]:
    """``doc_to_visual``: the document's picture."""
    return [images.open_image(doc)]


def no_picture(doc: Mapping[str, Any]) -> list[Image.Image]:
    """``doc_to_visual`` of the blind controls."""
    return []

"""What the lmms-eval task files name: documents and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.amber import documents, images
from lmms_causal.tasks.manifests import documents_of

if TYPE_CHECKING:
    from PIL import Image


amber_discriminative = documents_of("amber_discriminative", documents.dataset)
amber_discriminative_blind = documents_of("amber_discriminative_blind", documents.dataset)
amber_discriminative_lite = documents_of("amber_discriminative_lite", documents.dataset)
amber_discriminative_lite_blind = documents_of("amber_discriminative_lite_blind", documents.dataset)
amber_generative = documents_of("amber_generative", documents.dataset)
amber_generative_blind = documents_of("amber_generative_blind", documents.dataset)
amber_generative_official = documents_of("amber_generative_official", documents.dataset)
amber_generative_official_blind = documents_of("amber_generative_official_blind", documents.dataset)


@one_line_errors
def picture(doc: Mapping[str, Any]) -> list[Image.Image]:
    """``doc_to_visual``: the document's picture."""
    return [images.open_image(doc)]


def no_picture(doc: Mapping[str, Any]) -> list[Image.Image]:
    """``doc_to_visual`` of the blind controls."""
    return []

"""What the lmms-eval task files name: documents and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.pope_strict import documents, images

if TYPE_CHECKING:
    from PIL import Image


pope_strict_coco_random = documents_of("pope_strict_coco_random", documents.dataset)
pope_strict_coco_random_blind = documents_of("pope_strict_coco_random_blind", documents.dataset)
pope_strict_coco_popular = documents_of("pope_strict_coco_popular", documents.dataset)
pope_strict_coco_popular_blind = documents_of("pope_strict_coco_popular_blind", documents.dataset)
pope_strict_coco_adversarial = documents_of("pope_strict_coco_adversarial", documents.dataset)
pope_strict_coco_adversarial_blind = documents_of(
    "pope_strict_coco_adversarial_blind", documents.dataset
)
pope_strict_aokvqa_random = documents_of("pope_strict_aokvqa_random", documents.dataset)
pope_strict_aokvqa_random_blind = documents_of("pope_strict_aokvqa_random_blind", documents.dataset)
pope_strict_aokvqa_popular = documents_of("pope_strict_aokvqa_popular", documents.dataset)
pope_strict_aokvqa_popular_blind = documents_of(
    "pope_strict_aokvqa_popular_blind", documents.dataset
)
pope_strict_aokvqa_adversarial = documents_of("pope_strict_aokvqa_adversarial", documents.dataset)
pope_strict_aokvqa_adversarial_blind = documents_of(
    "pope_strict_aokvqa_adversarial_blind", documents.dataset
)
pope_strict_gqa_random = documents_of("pope_strict_gqa_random", documents.dataset)
pope_strict_gqa_random_blind = documents_of("pope_strict_gqa_random_blind", documents.dataset)
pope_strict_gqa_popular = documents_of("pope_strict_gqa_popular", documents.dataset)
pope_strict_gqa_popular_blind = documents_of("pope_strict_gqa_popular_blind", documents.dataset)
pope_strict_gqa_adversarial = documents_of("pope_strict_gqa_adversarial", documents.dataset)
pope_strict_gqa_adversarial_blind = documents_of(
    "pope_strict_gqa_adversarial_blind", documents.dataset
)
pope_strict_lite = documents_of("pope_strict_lite", documents.dataset)
pope_strict_lite_blind = documents_of("pope_strict_lite_blind", documents.dataset)


@one_line_errors
def picture(doc: Mapping[str, Any]) -> list[Image.Image]:
    """``doc_to_visual``: the document's picture."""
    return [images.open_image(doc)]


def no_picture(doc: Mapping[str, Any]) -> list[Image.Image]:
    """``doc_to_visual`` of the blind controls."""
    return []

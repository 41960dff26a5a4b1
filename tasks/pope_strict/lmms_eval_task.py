"""What the lmms-eval task files name: documents and pictures."""

from __future__ import annotations

from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.pope_strict import documents, images
from lmms_causal.tasks.visuals import picture_of

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


picture = picture_of(images.open_image)

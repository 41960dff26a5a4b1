"""What the lmms-eval task files name: documents and pictures."""

from __future__ import annotations

from lmms_causal.tasks.amber import documents, images
from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.visuals import picture_of

amber_discriminative = documents_of("amber_discriminative", documents.dataset)
amber_discriminative_blind = documents_of("amber_discriminative_blind", documents.dataset)
amber_discriminative_lite = documents_of("amber_discriminative_lite", documents.dataset)
amber_discriminative_lite_blind = documents_of("amber_discriminative_lite_blind", documents.dataset)
amber_generative = documents_of("amber_generative", documents.dataset)
amber_generative_blind = documents_of("amber_generative_blind", documents.dataset)
amber_generative_official = documents_of("amber_generative_official", documents.dataset)
amber_generative_official_blind = documents_of("amber_generative_official_blind", documents.dataset)


picture = picture_of(images.open_image)

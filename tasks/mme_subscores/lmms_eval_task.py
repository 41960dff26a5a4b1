"""What the lmms-eval task files name: documents and pictures."""

from __future__ import annotations

from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.mme_subscores import documents, images
from lmms_causal.tasks.visuals import picture_of

mme_subscores = documents_of("mme_subscores", documents.dataset)
mme_subscores_blind = documents_of("mme_subscores_blind", documents.dataset)
mme_hallucination = documents_of("mme_hallucination", documents.dataset)
mme_hallucination_blind = documents_of("mme_hallucination_blind", documents.dataset)


picture = picture_of(images.open_image)

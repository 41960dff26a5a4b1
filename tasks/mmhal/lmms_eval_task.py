"""What the lmms-eval task files name: documents and pictures."""

from __future__ import annotations

from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.mmhal import documents, images
from lmms_causal.tasks.visuals import picture_of

mmhal = documents_of("mmhal", documents.dataset)
mmhal_blind = documents_of("mmhal_blind", documents.dataset)


picture = picture_of(images.open_image)

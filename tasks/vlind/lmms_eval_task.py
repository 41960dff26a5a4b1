"""What the lmms-eval task files name: documents and pictures."""

from __future__ import annotations

from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.visuals import picture_of
from lmms_causal.tasks.vlind import documents, images

vlind = documents_of("vlind", documents.dataset)
vlind_blind = documents_of("vlind_blind", documents.dataset)
vlind_lite = documents_of("vlind_lite", documents.dataset)
vlind_lite_blind = documents_of("vlind_lite_blind", documents.dataset)


picture = picture_of(images.open_image)

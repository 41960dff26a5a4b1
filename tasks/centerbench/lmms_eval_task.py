"""What the lmms-eval task files name: documents, without pictures."""

from __future__ import annotations

from lmms_causal.tasks.centerbench import documents
from lmms_causal.tasks.manifests import documents_of

direct = documents_of("centerbench", documents.dataset)
think = documents_of("centerbench_think", documents.dataset)
no_think = documents_of("centerbench_no_think", documents.dataset)

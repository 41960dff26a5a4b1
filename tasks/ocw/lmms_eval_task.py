"""What the lmms-eval task files name: documents without pictures; the manifest stands for them."""

from __future__ import annotations

from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.ocw import documents

grouping_0shot = documents_of("ocw_grouping_0shot", documents.dataset)
grouping_1shot = documents_of("ocw_grouping_1shot", documents.dataset)
grouping_3shot = documents_of("ocw_grouping_3shot", documents.dataset)
grouping_5shot = documents_of("ocw_grouping_5shot", documents.dataset)
grouping_10shot = documents_of("ocw_grouping_10shot", documents.dataset)
connections_0shot = documents_of("ocw_connections_0shot", documents.dataset)
connections_1shot = documents_of("ocw_connections_1shot", documents.dataset)
connections_3shot = documents_of("ocw_connections_3shot", documents.dataset)
connections_5shot = documents_of("ocw_connections_5shot", documents.dataset)
connections_10shot = documents_of("ocw_connections_10shot", documents.dataset)
randomized_grouping_3shot = documents_of("ocw_randomized_grouping_3shot", documents.dataset)
wordnet_grouping_3shot = documents_of("ocw_wordnet_grouping_3shot", documents.dataset)

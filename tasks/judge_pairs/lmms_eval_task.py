"""What the lmms-eval task files name: documents without pictures, and scores from its losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.judge_pairs import documents, scoring
from lmms_causal.tasks.loglikelihoods import from_lmms_eval
from lmms_causal.tasks.manifests import documents_of

Doc = Mapping[str, Any]


options = documents_of("judge_pairs_options", documents.dataset)
names = documents_of("judge_pairs_names", documents.dataset)
letters = documents_of("judge_pairs_letters", documents.dataset)


def option(doc: Doc, results: Sequence[Any]) -> dict[str, Any]:
    """``process_results`` of ``judge_pairs_options``."""
    return scoring.score_options(doc, from_lmms_eval(results))

"""What the lm-eval task files name: documents, and choice scores from log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.judge_pairs import documents, scoring
from lmms_causal.tasks.loglikelihoods import from_lm_eval

if TYPE_CHECKING:
    import datasets


def dataset(variant: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``custom_dataset``: lm-eval adds the model's arguments and ``--metadata``, not used here."""
    return {"test": documents.dataset(variant)}


def option(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """``process_results`` of ``judge_pairs_options``."""
    return scoring.score_options(doc, from_lm_eval(results), by_length=True)

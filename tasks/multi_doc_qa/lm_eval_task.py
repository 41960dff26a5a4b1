"""What the lm-eval task files name: documents and scores of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.multi_doc_qa import documents, scoring

if TYPE_CHECKING:
    import datasets


def dataset(variant: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``custom_dataset``: lm-eval adds the model's arguments and ``--metadata``, not used here."""
    return {"test": documents.dataset(variant)}


def answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``process_results``."""
    return scoring.score_answer(doc, results[0])

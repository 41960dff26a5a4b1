"""What the lm-eval task files name: documents, pictures, choice scores from log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.causal_vqa_mini import documents, option_documents, scoring
from lmms_causal.tasks.loglikelihoods import from_lm_eval

if TYPE_CHECKING:
    import datasets
    from PIL import Image

Doc = Mapping[str, Any]


def dataset(question_kind: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``custom_dataset``: lm-eval adds the model's arguments and ``--metadata``, not used here."""
    return {"test": documents.dataset(question_kind)}


def options_dataset(question_kind: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``custom_dataset`` of ``*_options``."""
    return {"test": option_documents.dataset(question_kind)}


def picture(doc: Doc) -> list[Image.Image]:
    """``doc_to_image``: the document's picture, for the one placeholder in its text."""
    return [documents.picture(doc)]


def choice(doc: Doc, results: Sequence[Any]) -> dict[str, Any]:
    """``process_results`` of ``*_choice``."""
    return scoring.score_choices(doc, from_lm_eval(results))


def option(doc: Doc, results: Sequence[Any]) -> dict[str, Any]:
    """``process_results`` of ``*_options``."""
    return scoring.score_options(doc, from_lm_eval(results))

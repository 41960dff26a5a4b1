"""What the lm-eval task files name: documents, pictures, and choice scores from log-probabilities.

Generated answers are scored by `generated`, the same for both harnesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.causal_vqa import documents, images, oa_scoring, scoring
from lmms_causal.tasks.loglikelihoods import from_lm_eval

if TYPE_CHECKING:
    import datasets
    from PIL import Image

Doc = Mapping[str, Any]
Values = dict[str, Any]


def dataset(variant: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``custom_dataset``: lm-eval adds the model's arguments and ``--metadata``, not used here."""
    return {"test": documents.dataset(variant)}


def picture(doc: Doc) -> list[Image.Image]:
    """``doc_to_image``: the document's picture, for the one placeholder in its text."""
    return [images.open_image(doc)]


def yes_no(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``*_yn``."""
    return scoring.score_yes_no(doc, *from_lm_eval(results))


def ranking(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``*_itm`` and ``*_blind_itm``."""
    return scoring.score_ranking(doc, from_lm_eval(results), by_length=True)


def option(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``*_options`` and ``*_options_blind``."""
    return scoring.score_options(doc, from_lm_eval(results), by_length=True)


def statement(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``vqa_causal_oa``."""
    return oa_scoring.score_statement(doc, *from_lm_eval(results))


def statement_ranking(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``vqa_causal_oa_itm``."""
    return oa_scoring.score_statement_ranking(doc, from_lm_eval(results))

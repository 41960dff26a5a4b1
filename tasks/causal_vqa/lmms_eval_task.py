"""What the lmms-eval task files name: documents, pictures, and choice scores from its losses.

Generated answers are scored by `generated`, the same for both harnesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.causal_vqa import documents, images, oa_scoring, scoring
from lmms_causal.tasks.loglikelihoods import from_lmms_eval

if TYPE_CHECKING:
    import datasets
    from PIL import Image

Doc = Mapping[str, Any]
Values = dict[str, Any]


def _process_docs(variant: str) -> Callable[[datasets.Dataset], datasets.Dataset]:
    """``process_docs`` of one task: the manifest it is given stands for the files it names."""

    @one_line_errors
    def process_docs(manifest: datasets.Dataset) -> datasets.Dataset:
        return documents.dataset(variant)

    process_docs.__qualname__ = process_docs.__name__ = f"documents_of_{variant}"
    return process_docs


vqa_causal_mc = _process_docs("vqa_causal_mc")
vqa_causal_12 = _process_docs("vqa_causal_12")
vqa_causal_yn = _process_docs("vqa_causal_yn")
vqa_causal_yn_gen = _process_docs("vqa_causal_yn_gen")
vqa_causal_itm = _process_docs("vqa_causal_itm")
vqa_causal_blind = _process_docs("vqa_causal_blind")
vqa_causal_options = _process_docs("vqa_causal_options")
vqa_causal_options_blind = _process_docs("vqa_causal_options_blind")
vqa_causal_oa = _process_docs("vqa_causal_oa")
vqa_causal_oa_gen = _process_docs("vqa_causal_oa_gen")
vqa_causal_oa_itm = _process_docs("vqa_causal_oa_itm")
vqa_causal_full = _process_docs("vqa_causal_full")
vcr_causal_mc = _process_docs("vcr_causal_mc")
vcr_causal_12 = _process_docs("vcr_causal_12")
vcr_causal_yn = _process_docs("vcr_causal_yn")
vcr_causal_yn_gen = _process_docs("vcr_causal_yn_gen")
vcr_causal_itm = _process_docs("vcr_causal_itm")
vcr_causal_blind = _process_docs("vcr_causal_blind")
vcr_causal_options = _process_docs("vcr_causal_options")
vcr_causal_options_blind = _process_docs("vcr_causal_options_blind")


@one_line_errors
def picture(doc: Doc) -> list[Image.Image]:
    """``doc_to_visual``: the document's picture."""
    return [images.open_image(doc)]


def no_picture(doc: Doc) -> list[Image.Image]:
    """``doc_to_visual`` of the blind controls."""
    return []


def yes_no(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``*_yn``."""
    return scoring.score_yes_no(doc, *from_lmms_eval(results))


def ranking(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``*_itm``."""
    return scoring.score_ranking(doc, from_lmms_eval(results))


def option(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``*_options`` and ``*_options_blind``."""
    return scoring.score_options(doc, from_lmms_eval(results))


def statement(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``vqa_causal_oa``."""
    return oa_scoring.score_statement(doc, *from_lmms_eval(results))


def statement_ranking(doc: Doc, results: Sequence[Any]) -> Values:
    """``process_results`` of ``vqa_causal_oa_itm``."""
    return oa_scoring.score_statement_ranking(doc, from_lmms_eval(results))

"""What the lmms-eval task files name: documents, pictures, and choice scores from its losses.

Generated answers are scored by `generated`, the same for both harnesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.causal_vqa import documents, images, oa_scoring, scoring
from lmms_causal.tasks.loglikelihoods import from_lmms_eval
from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.visuals import picture_of

Doc = Mapping[str, Any]
Values = dict[str, Any]


vqa_causal_mc = documents_of("vqa_causal_mc", documents.dataset)
vqa_causal_12 = documents_of("vqa_causal_12", documents.dataset)
vqa_causal_12_blind = documents_of("vqa_causal_12_blind", documents.dataset)
vqa_causal_yn = documents_of("vqa_causal_yn", documents.dataset)
vqa_causal_yn_blind = documents_of("vqa_causal_yn_blind", documents.dataset)
vqa_causal_yn_gen = documents_of("vqa_causal_yn_gen", documents.dataset)
vqa_causal_yn_gen_blind = documents_of("vqa_causal_yn_gen_blind", documents.dataset)
vqa_causal_itm = documents_of("vqa_causal_itm", documents.dataset)
vqa_causal_blind_itm = documents_of("vqa_causal_blind_itm", documents.dataset)
vqa_causal_blind = documents_of("vqa_causal_blind", documents.dataset)
vqa_causal_options = documents_of("vqa_causal_options", documents.dataset)
vqa_causal_options_blind = documents_of("vqa_causal_options_blind", documents.dataset)
vqa_causal_oa = documents_of("vqa_causal_oa", documents.dataset)
vqa_causal_oa_blind = documents_of("vqa_causal_oa_blind", documents.dataset)
vqa_causal_oa_gen = documents_of("vqa_causal_oa_gen", documents.dataset)
vqa_causal_oa_gen_blind = documents_of("vqa_causal_oa_gen_blind", documents.dataset)
vqa_causal_oa_itm = documents_of("vqa_causal_oa_itm", documents.dataset)
vqa_causal_oa_itm_blind = documents_of("vqa_causal_oa_itm_blind", documents.dataset)
vqa_causal_full = documents_of("vqa_causal_full", documents.dataset)
vqa_causal_full_blind = documents_of("vqa_causal_full_blind", documents.dataset)
vcr_causal_mc = documents_of("vcr_causal_mc", documents.dataset)
vcr_causal_12 = documents_of("vcr_causal_12", documents.dataset)
vcr_causal_12_blind = documents_of("vcr_causal_12_blind", documents.dataset)
vcr_causal_yn = documents_of("vcr_causal_yn", documents.dataset)
vcr_causal_yn_blind = documents_of("vcr_causal_yn_blind", documents.dataset)
vcr_causal_yn_gen = documents_of("vcr_causal_yn_gen", documents.dataset)
vcr_causal_yn_gen_blind = documents_of("vcr_causal_yn_gen_blind", documents.dataset)
vcr_causal_itm = documents_of("vcr_causal_itm", documents.dataset)
vcr_causal_blind_itm = documents_of("vcr_causal_blind_itm", documents.dataset)
vcr_causal_blind = documents_of("vcr_causal_blind", documents.dataset)
vcr_causal_options = documents_of("vcr_causal_options", documents.dataset)
vcr_causal_options_blind = documents_of("vcr_causal_options_blind", documents.dataset)


picture = picture_of(images.open_image)


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

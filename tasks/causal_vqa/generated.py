"""``process_results`` of the tasks that generate text, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.causal_vqa import oa_scoring, scoring

Doc = Mapping[str, Any]
Values = dict[str, Any]


def letter(doc: Doc, results: Sequence[str]) -> Values:
    """``*_mc`` and ``*_blind``."""
    return scoring.score_letter(doc, results[0])


def connectors(doc: Doc, results: Sequence[str]) -> Values:
    """``*_12``."""
    return scoring.score_connectors(doc, results[0])


def yes_no_answer(doc: Doc, results: Sequence[str]) -> Values:
    """``*_yn_gen``."""
    return scoring.score_yes_no_answer(doc, results[0])


def statement_answer(doc: Doc, results: Sequence[str]) -> Values:
    """``vqa_causal_oa_gen``."""
    return oa_scoring.score_statement_answer(doc, results[0])


def full(doc: Doc, results: Sequence[str]) -> Values:
    """``vqa_causal_full``."""
    return oa_scoring.score_full(doc, results[0])

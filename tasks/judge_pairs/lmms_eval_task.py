"""What the lmms-eval task files name: documents without pictures, and scores from its losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.judge_pairs import documents, scoring
from lmms_causal.tasks.loglikelihoods import from_lmms_eval

if TYPE_CHECKING:
    import datasets

Doc = Mapping[str, Any]


@one_line_errors
def options(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``judge_pairs_options``: the manifest stands for the pairs."""
    return documents.dataset("judge_pairs_options")


@one_line_errors
def names(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``judge_pairs_names``."""
    return documents.dataset("judge_pairs_names")


@one_line_errors
def letters(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``judge_pairs_letters``."""
    return documents.dataset("judge_pairs_letters")


def no_picture(doc: Doc) -> list[Any]:
    """``doc_to_visual``: there is nothing to see."""
    return []


def option(doc: Doc, results: Sequence[Any]) -> dict[str, Any]:
    """``process_results`` of ``judge_pairs_options``."""
    return scoring.score_options(doc, from_lmms_eval(results))

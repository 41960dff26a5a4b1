"""What the lmms-eval task files name: documents, pictures, and choice scores from its losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.causal_vqa_mini import documents, option_documents, scoring
from lmms_causal.tasks.loglikelihoods import from_lmms_eval

if TYPE_CHECKING:
    import datasets
    from PIL import Image

Doc = Mapping[str, Any]


def order(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of the causal order tasks: the manifest stands for their documents."""
    return documents.dataset("order")


def presence(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of the presence tasks."""
    return documents.dataset("presence")


def colour(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of the colour tasks."""
    return documents.dataset("colour")


def order_options(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of the causal order task without letters."""
    return option_documents.dataset("order")


def presence_options(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of the presence task with listed options."""
    return option_documents.dataset("presence")


def colour_options(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of the colour task with listed options."""
    return option_documents.dataset("colour")


def picture(doc: Doc) -> list[Image.Image]:
    """``doc_to_visual``: the document's picture."""
    return [documents.picture(doc)]


def choice(doc: Doc, results: Sequence[Any]) -> dict[str, Any]:
    """``process_results`` of ``*_choice``."""
    return scoring.score_choices(doc, from_lmms_eval(results))


def option(doc: Doc, results: Sequence[Any]) -> dict[str, Any]:
    """``process_results`` of ``*_options``."""
    return scoring.score_options(doc, from_lmms_eval(results))

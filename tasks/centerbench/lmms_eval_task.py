"""What the lmms-eval task files name: documents, without pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.centerbench import documents

if TYPE_CHECKING:
    import datasets


@one_line_errors
def direct(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``centerbench``: the manifest stands for the questions."""
    return documents.dataset("centerbench")


@one_line_errors
def think(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``centerbench_think``."""
    return documents.dataset("centerbench_think")


@one_line_errors
def no_think(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``centerbench_no_think``."""
    return documents.dataset("centerbench_no_think")


def no_picture(doc: Mapping[str, Any]) -> list[Any]:
    """``doc_to_visual``: there is nothing to see."""
    return []

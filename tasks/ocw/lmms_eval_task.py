"""What the lmms-eval task files name: documents without pictures; the manifest stands for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.ocw import documents

if TYPE_CHECKING:
    import datasets


@one_line_errors
def grouping_0shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_grouping_0shot``."""
    return documents.dataset("ocw_grouping_0shot")


@one_line_errors
def grouping_1shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_grouping_1shot``."""
    return documents.dataset("ocw_grouping_1shot")


@one_line_errors
def grouping_3shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_grouping_3shot``."""
    return documents.dataset("ocw_grouping_3shot")


@one_line_errors
def grouping_5shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_grouping_5shot``."""
    return documents.dataset("ocw_grouping_5shot")


@one_line_errors
def grouping_10shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_grouping_10shot``."""
    return documents.dataset("ocw_grouping_10shot")


@one_line_errors
def connections_0shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_connections_0shot``."""
    return documents.dataset("ocw_connections_0shot")


@one_line_errors
def connections_1shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_connections_1shot``."""
    return documents.dataset("ocw_connections_1shot")


@one_line_errors
def connections_3shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_connections_3shot``."""
    return documents.dataset("ocw_connections_3shot")


@one_line_errors
def connections_5shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_connections_5shot``."""
    return documents.dataset("ocw_connections_5shot")


@one_line_errors
def connections_10shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_connections_10shot``."""
    return documents.dataset("ocw_connections_10shot")


@one_line_errors
def randomized_grouping_3shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_randomized_grouping_3shot``."""
    return documents.dataset("ocw_randomized_grouping_3shot")


@one_line_errors
def wordnet_grouping_3shot(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``ocw_wordnet_grouping_3shot``."""
    return documents.dataset("ocw_wordnet_grouping_3shot")


def no_picture(doc: Mapping[str, Any]) -> list[Any]:
    """``doc_to_visual``: there is nothing to see."""
    return []

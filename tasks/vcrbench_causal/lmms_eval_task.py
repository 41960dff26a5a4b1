"""What the lmms-eval task files name: documents, with their videos there, and what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.vcrbench_causal import conversations, data, documents

if TYPE_CHECKING:
    import datasets


@one_line_errors
def plain(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``vcrbench_causal``: the manifest stands for its documents."""
    return _with_videos(documents.dataset("plain"))


@one_line_errors
def renamed(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``vcrbench_causal_renamed``."""
    return _with_videos(documents.dataset("renamed"))


@one_line_errors
def plain_blind(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``vcrbench_causal_blind``, which needs no video."""
    return documents.dataset("plain")


@one_line_errors
def renamed_blind(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``vcrbench_causal_renamed_blind``."""
    return documents.dataset("renamed")


@one_line_errors
def rrd(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``vcrbench_rrd``."""
    return _with_videos(conversations.dataset("vcrbench_rrd"))


@one_line_errors
def rrd_video(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``vcrbench_rrd_video``."""
    return _with_videos(conversations.dataset("vcrbench_rrd_video"))


@one_line_errors
def rrd_sequential(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``vcrbench_rrd_sequential``."""
    return _with_videos(conversations.dataset("vcrbench_rrd_sequential"))


@one_line_errors
def rrd_sequential_video(manifest: datasets.Dataset) -> datasets.Dataset:
    """``process_docs`` of ``vcrbench_rrd_sequential_video``."""
    return _with_videos(conversations.dataset("vcrbench_rrd_sequential_video"))


@one_line_errors
def video(doc: Mapping[str, Any]) -> list[str]:
    """``doc_to_visual``: the path of the document's video."""
    return [str(data.find_video(doc["video_file"]))]


def no_video(doc: Mapping[str, Any]) -> list[Any]:
    """``doc_to_visual`` of the blind controls."""
    return []


def _with_videos(docs: datasets.Dataset) -> datasets.Dataset:
    data.require_videos(docs["video_file"])
    return docs

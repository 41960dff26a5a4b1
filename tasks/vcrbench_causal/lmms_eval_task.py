"""What the lmms-eval task files name: documents, with their videos there, and what is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.vcrbench_causal import conversations, data, documents

if TYPE_CHECKING:
    import datasets


def _with_videos(dataset: Callable[[str], datasets.Dataset]) -> Callable[[str], datasets.Dataset]:
    """`dataset`, and then a look at whether its videos are there."""

    def checked(variant: str) -> datasets.Dataset:
        docs = dataset(variant)
        data.require_videos(docs["video_file"])
        return docs

    return checked


plain = documents_of("plain", _with_videos(documents.dataset))
renamed = documents_of("renamed", _with_videos(documents.dataset))
plain_blind = documents_of("plain", documents.dataset)
renamed_blind = documents_of("renamed", documents.dataset)
rrd = documents_of("vcrbench_rrd", _with_videos(conversations.dataset))
rrd_video = documents_of("vcrbench_rrd_video", _with_videos(conversations.dataset))
rrd_sequential = documents_of("vcrbench_rrd_sequential", _with_videos(conversations.dataset))
rrd_sequential_video = documents_of(
    "vcrbench_rrd_sequential_video", _with_videos(conversations.dataset)
)


@one_line_errors
def video(doc: Mapping[str, Any]) -> list[str]:
    """``doc_to_visual``: the path of the document's video."""
    return [str(data.find_video(doc["video_file"]))]


def no_video(doc: Mapping[str, Any]) -> list[Any]:
    """``doc_to_visual`` of the blind controls."""
    return []

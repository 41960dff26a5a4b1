"""What the lmms-eval task files name: documents and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.vlind import documents, images

if TYPE_CHECKING:
    import datasets
    from PIL import Image


def _process_docs(variant: str) -> Callable[[datasets.Dataset], datasets.Dataset]:
    """``process_docs`` of one task: the manifest it is given stands for the questions."""

    @one_line_errors
    def process_docs(manifest: datasets.Dataset) -> datasets.Dataset:
        return documents.dataset(variant)

    process_docs.__qualname__ = process_docs.__name__ = f"documents_of_{variant}"
    return process_docs


vlind = _process_docs("vlind")
vlind_blind = _process_docs("vlind_blind")
vlind_lite = _process_docs("vlind_lite")
vlind_lite_blind = _process_docs("vlind_lite_blind")


@one_line_errors
def picture(doc: Mapping[str, Any]) -> list[Image.Image]:
    """``doc_to_visual``: the document's picture."""
    return [images.open_image(doc)]


def no_picture(doc: Mapping[str, Any]) -> list[Image.Image]:
    """``doc_to_visual`` of the blind controls."""
    return []

"""``doc_to_visual`` of lmms-eval's tasks, for benchmarks that show one picture or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["no_picture", "picture_of"]

Doc = Mapping[str, Any]


def picture_of(open_image: Callable[[Doc], Image.Image]) -> Callable[[Doc], list[Image.Image]]:
    """``doc_to_visual`` of a benchmark with one picture a document, which `open_image` opens."""

    @one_line_errors
    def picture(doc: Doc) -> list[Image.Image]:
        return [open_image(doc)]

    return picture


def no_picture(doc: Doc) -> list[Any]:
    """``doc_to_visual`` of blind controls and of text."""
    return []

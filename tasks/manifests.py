"""Documents for lmms-eval, which reads a manifest next to the task file and then asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lmms_causal.command_line import one_line_errors

if TYPE_CHECKING:
    import datasets

__all__ = ["documents_of"]


def documents_of(
    variant: str, dataset: Callable[[str], datasets.Dataset]
) -> Callable[[datasets.Dataset], datasets.Dataset]:
    """``process_docs`` of one task: the manifest it is given stands for what the task asks.

    Args:
        variant: the task.
        dataset: makes a task's documents.
    """

    @one_line_errors
    def process_docs(manifest: datasets.Dataset) -> datasets.Dataset:
        return dataset(variant)

    process_docs.__qualname__ = process_docs.__name__ = f"documents_of_{variant}"
    return process_docs

"""What the lmms-eval task files name: documents and pictures. Answers are scored by `generated`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.mme_cc import documents, images
from lmms_causal.tasks.mme_cc.judge import preflight

if TYPE_CHECKING:
    import datasets
    from PIL import Image

Doc = Mapping[str, Any]


def _process_docs(variant: str) -> Callable[[datasets.Dataset], datasets.Dataset]:
    """``process_docs`` of one task: the manifest it is given stands for the files it names.

    lmms-eval calls it while it builds the task, which is before it asks the model anything: the
    place to find out whether there is a judge.
    """

    @one_line_errors
    def process_docs(manifest: datasets.Dataset) -> datasets.Dataset:
        if documents.VARIANTS[variant].judged:
            preflight()
        return documents.dataset(variant)

    process_docs.__qualname__ = process_docs.__name__ = f"documents_of_{variant}"
    return process_docs


mme_cc_judge = _process_docs("mme_cc_judge")
mme_cc_judge_blind = _process_docs("mme_cc_judge_blind")
mme_cc_rule = _process_docs("mme_cc_rule")
mme_cc_rule_blind = _process_docs("mme_cc_rule_blind")


@one_line_errors
def pictures(doc: Doc) -> list[Image.Image]:
    """``doc_to_visual``: the document's pictures in order."""
    return images.open_images(doc)


def no_picture(doc: Doc) -> list[Image.Image]:
    """``doc_to_visual`` of the blind controls."""
    return []

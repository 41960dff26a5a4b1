"""What the lmms-eval task files name: documents, pictures, messages, and scores from its losses.

Generated answers are scored by `generated`, the same for both harnesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.loglikelihoods import from_lmms_eval
from lmms_causal.tasks.mucr import documents, images, scoring

if TYPE_CHECKING:
    import datasets
    from PIL import Image

Doc = Mapping[str, Any]


def _process_docs(variant: str) -> Callable[[datasets.Dataset], datasets.Dataset]:
    """``process_docs`` of one task: the manifest it is given stands for the data set it names."""

    @one_line_errors
    def process_docs(manifest: datasets.Dataset) -> datasets.Dataset:
        return documents.dataset(variant)

    process_docs.__qualname__ = process_docs.__name__ = f"documents_of_{variant}"
    return process_docs


mucr_c2e = _process_docs("mucr_c2e")
mucr_c2e_blind = _process_docs("mucr_c2e_blind")
mucr_e2c = _process_docs("mucr_e2c")
mucr_e2c_blind = _process_docs("mucr_e2c_blind")
mucr_cue = _process_docs("mucr_cue")
mucr_cue_blind = _process_docs("mucr_cue_blind")
mucr_exp = _process_docs("mucr_exp")
mucr_exp_blind = _process_docs("mucr_exp_blind")
mucr_c2e_composite = _process_docs("mucr_c2e_composite")
mucr_c2e_composite_blind = _process_docs("mucr_c2e_composite_blind")
mucr_cue_composite = _process_docs("mucr_cue_composite")
mucr_cue_composite_blind = _process_docs("mucr_cue_composite_blind")
mucr_exp_composite = _process_docs("mucr_exp_composite")
mucr_exp_composite_blind = _process_docs("mucr_exp_composite_blind")
mucr_c2e_vccot = _process_docs("mucr_c2e_vccot")
mucr_c2e_vccot_blind = _process_docs("mucr_c2e_vccot_blind")
mucr_cue_vccot = _process_docs("mucr_cue_vccot")
mucr_cue_vccot_blind = _process_docs("mucr_cue_vccot_blind")
mucr_cue_options = _process_docs("mucr_cue_options")
mucr_cue_options_blind = _process_docs("mucr_cue_options_blind")
mucr_c2e_text = _process_docs("mucr_c2e_text")
mucr_e2c_text = _process_docs("mucr_e2c_text")
mucr_cue_text = _process_docs("mucr_cue_text")
mucr_exp_text = _process_docs("mucr_exp_text")


@one_line_errors
def pictures(doc: Doc) -> list[Image.Image]:
    """``doc_to_visual``: the document's pictures in order."""
    return images.pictures(doc)


def no_picture(doc: Doc) -> list[Image.Image]:
    """``doc_to_visual`` of the blind and the text forms."""
    return []


@one_line_errors
def messages(doc: Doc) -> list[dict[str, Any]]:
    """``doc_to_messages``: each picture after its label, then the question.

    Models of the simple type get the pictures first and then the question, which names them by
    their order.
    """
    shown = images.pictures(doc)
    content: list[dict[str, Any]] = []
    for number, picture in enumerate(shown):
        if doc["labels"]:
            content.append({"type": "text", "text": doc["labels"][number]})
        content.append({"type": "image", "url": picture})
    content.append({"type": "text", "text": doc["text"]})
    return [{"role": "user", "content": content}]


def option(doc: Doc, results: Sequence[Any]) -> dict[str, Any]:
    """``process_results`` of ``mucr_cue_options`` and its blind twin."""
    return scoring.score_options(doc, from_lmms_eval(results))

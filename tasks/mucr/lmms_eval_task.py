"""What the lmms-eval task files name: documents, pictures, messages, and scores from its losses.

Generated answers are scored by `generated`, the same for both harnesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.loglikelihoods import from_lmms_eval
from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.mucr import documents, images, scoring
from lmms_causal.tasks.mucr.judge import PROTOCOL

if TYPE_CHECKING:
    from PIL import Image

Doc = Mapping[str, Any]


mucr_c2e = documents_of("mucr_c2e", documents.dataset)
mucr_c2e_blind = documents_of("mucr_c2e_blind", documents.dataset)
mucr_e2c = documents_of("mucr_e2c", documents.dataset)
mucr_e2c_blind = documents_of("mucr_e2c_blind", documents.dataset)
mucr_cue = documents_of("mucr_cue", documents.dataset)
mucr_cue_blind = documents_of("mucr_cue_blind", documents.dataset)
mucr_exp = documents_of("mucr_exp", documents.dataset)
mucr_exp_blind = documents_of("mucr_exp_blind", documents.dataset)
mucr_exp_judge = documents_of("mucr_exp_judge", PROTOCOL.before(documents.dataset))
mucr_exp_judge_blind = documents_of("mucr_exp_judge_blind", PROTOCOL.before(documents.dataset))
mucr_c2e_composite = documents_of("mucr_c2e_composite", documents.dataset)
mucr_c2e_composite_blind = documents_of("mucr_c2e_composite_blind", documents.dataset)
mucr_cue_composite = documents_of("mucr_cue_composite", documents.dataset)
mucr_cue_composite_blind = documents_of("mucr_cue_composite_blind", documents.dataset)
mucr_exp_composite = documents_of("mucr_exp_composite", documents.dataset)
mucr_exp_composite_blind = documents_of("mucr_exp_composite_blind", documents.dataset)
mucr_c2e_vccot = documents_of("mucr_c2e_vccot", documents.dataset)
mucr_c2e_vccot_blind = documents_of("mucr_c2e_vccot_blind", documents.dataset)
mucr_cue_vccot = documents_of("mucr_cue_vccot", documents.dataset)
mucr_cue_vccot_blind = documents_of("mucr_cue_vccot_blind", documents.dataset)
mucr_cue_options = documents_of("mucr_cue_options", documents.dataset)
mucr_cue_options_blind = documents_of("mucr_cue_options_blind", documents.dataset)
mucr_c2e_text = documents_of("mucr_c2e_text", documents.dataset)
mucr_e2c_text = documents_of("mucr_e2c_text", documents.dataset)
mucr_cue_text = documents_of("mucr_cue_text", documents.dataset)
mucr_exp_text = documents_of("mucr_exp_text", documents.dataset)


@one_line_errors
def pictures(doc: Doc) -> list[Image.Image]:
    """``doc_to_visual``: the document's pictures in order."""
    return images.pictures(doc)


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

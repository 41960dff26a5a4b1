"""What the lmms-eval task files name: documents and pictures. Answers are scored by `generated`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.tasks.manifests import documents_of
from lmms_causal.tasks.mme_cc import documents, images
from lmms_causal.tasks.mme_cc.judge import PROTOCOL

if TYPE_CHECKING:
    from PIL import Image

Doc = Mapping[str, Any]


mme_cc_judge = documents_of("mme_cc_judge", PROTOCOL.before(documents.dataset))
mme_cc_judge_blind = documents_of("mme_cc_judge_blind", PROTOCOL.before(documents.dataset))
mme_cc_rule = documents_of("mme_cc_rule", documents.dataset)
mme_cc_rule_blind = documents_of("mme_cc_rule_blind", documents.dataset)


@one_line_errors
def pictures(doc: Doc) -> list[Image.Image]:
    """``doc_to_visual``: the document's pictures in order."""
    return images.open_images(doc)

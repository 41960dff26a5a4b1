"""How an answer is put before the judge, and how the judge's reply is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmms_causal.tasks.judge_protocol import OFF, Protocol, Trial, parse_score, without_tags
from lmms_causal.tasks.prompts import template

__all__ = ["PAPER_JUDGE", "PROTOCOL", "render"]

PAPER_JUDGE = "DeepSeek-V3-0324"
"""The judge of the published numbers."""
LONGEST_RESPONSE = 8000
"""Characters of a response that are judged, from its end."""

_CHAIRS = {"text": "How many chairs are there?", "answer": "7", "criteria": "Exactly seven."}


def render(doc: Mapping[str, Any], response: str) -> str:
    """The judge's prompt for a response whose reasoning has been removed."""
    tags = ("question", "reference", "notes", "response", "score")
    return template("mme_cc", "judge").render(
        question=doc["text"].strip(),
        reference=doc["answer"],
        notes=doc["criteria"],
        response=without_tags(response[-LONGEST_RESPONSE:], *tags).strip(),
    )


PROTOCOL = Protocol(
    task="mme_cc_judge",
    verdicts="mme_cc.jsonl",
    version="1.0",
    render=render,
    parse=parse_score,
    trials=(Trial(_CHAIRS, "There are 7 chairs.", (1,)), Trial(_CHAIRS, "9", (0,))),
    empty=0,
    remedy=f"the task mme_cc_rule needs no judge, and {OFF}",
)
"""A judge must tell a right from a wrong count."""

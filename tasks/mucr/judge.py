"""How an explanation is put before the judge. How the authors score explanations is not known.

The judge reads the two events in words, the cue and the references; it sees no picture. Its replies
are read as those of the judge of MME-CC: one tag with 0 or 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmms_causal.tasks.judge_protocol import OFF, Protocol, Trial, parse_score, without_tags
from lmms_causal.tasks.prompts import template

__all__ = ["PROTOCOL", "render"]

LONGEST_RESPONSE = 8000
"""Characters of an explanation that are judged, from its beginning."""

_WINDOW = {
    "cause_text": "A boy kicks a ball towards a window.",
    "effect_text": "The window is broken and the boy looks at it.",
    "cue": "hit by the ball",
    "references": ["The ball hit the window and broke it."],
}


def render(doc: Mapping[str, Any], response: str) -> str:
    """The judge's prompt for an explanation whose reasoning has been removed."""
    tags = ("cause", "effect", "phrase", "reference", "response", "score")
    return template("mucr", "judge").render(
        cause=doc["cause_text"],
        effect=doc["effect_text"],
        phrase=doc["cue"],
        references=list(doc["references"]),
        response=without_tags(response[:LONGEST_RESPONSE], *tags).strip(),
    )


PROTOCOL = Protocol(
    task="mucr_exp_judge",
    verdicts="mucr_exp.jsonl",
    version="1.0",
    render=render,
    parse=parse_score,
    trials=(
        Trial(_WINDOW, "The boy kicked the ball. The ball hit the window and broke it.", (1,)),
        Trial(_WINDOW, "A storm came up at night, and its hail broke the glass.", (0,)),
    ),
    empty=0,
    remedy=f"the task mucr_exp needs no judge, and {OFF}",
)
"""A judge must tell a right from a wrong link."""

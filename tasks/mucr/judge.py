"""How an explanation is put before the judge. How the authors score explanations is not known.

The judge reads the two events in words, the cue and the references; it sees no picture. Its replies
are read as those of the judge of MME-CC: one tag with 0 or 1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lmms_causal.tasks.download import cache_dir
from lmms_causal.tasks.judging import (
    PREFLIGHT_VARIABLE,
    Judge,
    JudgeSettings,
    Ruling,
    mode,
    parse_score,
)
from lmms_causal.tasks.prompts import template

__all__ = ["PROMPT_VERSION", "preflight", "render", "rule_on"]

PROMPT_VERSION = "1.0"
"""Raised with every change of the judge's prompt; part of the cache key and of the records."""
LONGEST_RESPONSE = 8000
"""Characters of an explanation that are judged, from its beginning."""

_TAGS = re.compile(r"<\s*(/?)\s*(cause|effect|phrase|reference|response|score)\s*>", re.IGNORECASE)
_REMEDY = (
    "the task mucr_exp needs no judge, and LMMS_CAUSAL_JUDGE=off only generates and logs answers"
)
_NAME = "mucr_exp_judge"


def render(doc: Mapping[str, Any], response: str) -> str:
    """The judge's prompt for an explanation whose reasoning has been removed.

    Tags that could close the block around it, or pass for a verdict, lose their brackets.
    """
    tame = _TAGS.sub(r"[\1\2]", response[:LONGEST_RESPONSE])
    return template("mucr", "judge").render(
        cause=doc["cause_text"],
        effect=doc["effect_text"],
        phrase=doc["cue"],
        references=list(doc["references"]),
        response=tame.strip(),
    )


def preflight() -> None:
    """Make sure that the judge answers and can tell a right from a wrong link, unless it is off.

    Raises:
        UserError: no judge is configured, or it does not work; one line with the remedies.
    """
    if mode() == "off":
        return
    settings = JudgeSettings.from_environment(_NAME, _REMEDY)
    if os.environ.get(PREFLIGHT_VARIABLE) != "0":
        _tried(settings)


@cache
def _tried(settings: JudgeSettings) -> None:
    pair = {
        "cause_text": "A boy kicks a ball towards a window.",
        "effect_text": "The window is broken and the boy looks at it.",
        "cue": "hit by the ball",
        "references": ["The ball hit the window and broke it."],
    }
    trials = {
        render(pair, "The boy kicked the ball. The ball hit the window and broke it."): 1,
        render(pair, "A storm came up at night, and its hail broke the glass."): 0,
    }
    _judge(settings, _verdicts()).preflight(trials, parse_score)


def rule_on(doc: Mapping[str, Any], response: str) -> tuple[JudgeSettings | None, Ruling]:
    """Ask the judge about an explanation without reasoning; never raises.

    An empty one is wrong, as the judge would be told, and nobody is asked.
    """
    if mode() == "off":
        return None, Ruling(None, problem="LMMS_CAUSAL_JUDGE=off")
    settings = JudgeSettings.from_environment(_NAME, _REMEDY)
    if not response.strip():
        return settings, Ruling(0)
    judge = _judge(settings, _verdicts())
    return settings, judge.ask(render(doc, response), PROMPT_VERSION, parse_score)


def _verdicts() -> Path:
    return cache_dir("judge", "mucr_exp.jsonl")


@cache
def _judge(settings: JudgeSettings, verdicts: Path) -> Judge:
    """One object for all threads."""
    return Judge(_NAME, settings, verdicts, _REMEDY)

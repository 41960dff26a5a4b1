"""How an answer is put before the judge, and how the judge's reply is read."""

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

__all__ = [
    "PAPER_JUDGE",
    "PROMPT_VERSION",
    "judge",
    "preflight",
    "render",
    "rule_on",
]

PAPER_JUDGE = "DeepSeek-V3-0324"
"""The judge of the published numbers."""
PROMPT_VERSION = "1.0"
"""Raised with every change of the judge's prompt; part of the cache key and of the records."""
LONGEST_RESPONSE = 8000
"""Characters of a response that are judged, from its end."""

_BLOCK_TAGS = re.compile(r"<\s*(/?)\s*(question|reference|notes|response|score)\s*>", re.IGNORECASE)
_REMEDY = (
    "the task mme_cc_rule needs no judge, and LMMS_CAUSAL_JUDGE=off only generates and logs answers"
)
_NAME = "mme_cc_judge"


def render(doc: Mapping[str, Any], response: str) -> str:
    """The judge's prompt for a response whose reasoning has been removed.

    Tags that could close the block around the response, or pass for a verdict, lose their brackets.
    """
    tame = _BLOCK_TAGS.sub(r"[\1\2]", response[-LONGEST_RESPONSE:])
    return template("mme_cc", "judge").render(
        question=doc["text"].strip(),
        reference=doc["answer"],
        notes=doc["criteria"],
        response=tame.strip(),
    )


def preflight() -> None:
    """Make sure that the judge answers, unless it is off or the check is.

    The trials are a right and a wrong count. They are asked once per process and judge.

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
    question = {"text": "How many chairs are there?", "answer": "7", "criteria": "Exactly seven."}
    trials = {render(question, "There are 7 chairs."): 1, render(question, "9"): 0}
    judge(settings).preflight(trials, parse_score)


def rule_on(doc: Mapping[str, Any], response: str) -> tuple[JudgeSettings | None, Ruling]:
    """Ask the judge about a response without reasoning; never raises.

    An empty response is wrong, as the judge would be told, and nobody is asked.
    """
    if mode() == "off":
        return None, Ruling(None, problem="LMMS_CAUSAL_JUDGE=off")
    settings = JudgeSettings.from_environment(_NAME, _REMEDY)
    if not response.strip():
        return settings, Ruling(0)
    return settings, judge(settings).ask(render(doc, response), PROMPT_VERSION, parse_score)


def judge(settings: JudgeSettings) -> Judge:
    """The judge with these settings; one object for all threads."""
    return _judge(settings, cache_dir("judge", "mme_cc.jsonl"))


@cache
def _judge(settings: JudgeSettings, verdicts: Path) -> Judge:
    return Judge(_NAME, settings, verdicts, _REMEDY)

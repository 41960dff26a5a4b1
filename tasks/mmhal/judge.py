"""How an answer is put before the judge, and how its rating is read.

The authors' judge is GPT-4 (``gpt-4-0314``), asked with the same four texts; the wording is ours.
Their script takes an unreadable reply for a 0; here the judge is asked again and a failure counted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.download import cache_dir
from lmms_causal.tasks.judging import PREFLIGHT_VARIABLE, Judge, JudgeSettings, Ruling, mode
from lmms_causal.tasks.prompts import template

__all__ = ["HALLUCINATES_BELOW", "PROMPT_VERSION", "parse_rating", "preflight", "render", "rule_on"]

PROMPT_VERSION = "1.0"
"""Raised with every change of the judge's prompt; part of the cache key and of the records."""
HALLUCINATES_BELOW = 3
"""Ratings below it say that the answer hallucinates."""
LONGEST_RESPONSE = 8000
"""Characters of a response that are judged, from its beginning."""

_RATING = re.compile(r"rating[*\s]{0,4}:[*\s]{0,4}([0-6])(?!\d|\.\d)")
_ANY_RATING = re.compile(r"rating[*\s]{0,4}:[*\s]{0,4}-?\d")
_TAGS = re.compile(r"<\s*(/?)\s*(contents|question|person|answer)\s*>", re.IGNORECASE)
_RATING_WORD = re.compile(r"rating(?=\W{0,4}:)", re.IGNORECASE)
_REMEDY = "LMMS_CAUSAL_JUDGE=off only generates and logs answers"
_NAME = "mmhal"


def render(doc: Mapping[str, Any], response: str) -> str:
    """The judge's prompt for a response whose reasoning has been removed.

    Tags in it lose their brackets, so that a response cannot end its own block.
    """
    tame = _TAGS.sub(r"[\1\2]", response[:LONGEST_RESPONSE])
    tame = _RATING_WORD.sub("rating (sic)", tame)
    return template("mmhal", "judge").render(
        contents=", ".join(doc["contents"]),
        question=doc["question"],
        reference=doc["answer"],
        response=tame.strip(),
    )


def parse_rating(reply: str) -> int | None:
    """0 to 6 as in ``Rating: 4``; None without one, or with two that differ.

    >>> parse_rating("No hallucination. Rating: 4")
    4
    >>> parse_rating("Rating: 4 or rating: 5") is None
    True
    """
    text = strip_reasoning(reply).casefold()
    ratings = _RATING.findall(text)
    if len(set(ratings)) != 1 or len(_ANY_RATING.findall(text)) != len(ratings):
        return None
    return int(ratings[0])


def preflight() -> None:
    """Make sure that the judge answers and can tell a hallucination, unless it is off.

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
    question = {
        "contents": ["Table", "Apple"],
        "question": "How many apples are on the table?",
        "answer": "There are three apples on the table.",
    }
    trials = {
        render(question, "There are three apples on the table."): 0,
        render(question, "There are nine elephants on the table and no apple."): 1,
    }
    _judge(settings).preflight(trials, _hallucinates)


def _hallucinates(reply: str) -> int | None:
    rating = parse_rating(reply)
    return None if rating is None else int(rating < HALLUCINATES_BELOW)


def rule_on(doc: Mapping[str, Any], response: str) -> tuple[JudgeSettings | None, Ruling]:
    """Ask the judge about a response without reasoning; never raises."""
    if mode() == "off":
        return None, Ruling(None, problem="LMMS_CAUSAL_JUDGE=off")
    settings = JudgeSettings.from_environment(_NAME, _REMEDY)
    return settings, _judge(settings).ask(render(doc, response), PROMPT_VERSION, parse_rating)


@cache
def _judge(settings: JudgeSettings) -> Judge:
    return Judge(_NAME, settings, cache_dir("judge", "mmhal.jsonl"), _REMEDY)

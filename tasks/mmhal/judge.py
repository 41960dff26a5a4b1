"""How an answer is put before the judge, and how its rating is read.

The authors' judge is GPT-4 (``gpt-4-0314``), asked with the same four texts; the wording is ours.
Their script takes an unreadable reply for a 0; here the judge is asked again and a failure counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.judge_protocol import Protocol, Trial, without_tags
from lmms_causal.tasks.prompts import template

__all__ = ["HALLUCINATES_BELOW", "PROTOCOL", "parse_rating", "render"]

HALLUCINATES_BELOW = 3
"""Ratings below it say that the answer hallucinates."""
LONGEST_RESPONSE = 8000
"""Characters of a response that are judged, from its beginning."""

_RATING = re.compile(r"rating[*\s]{0,4}:[*\s]{0,4}([0-6])(?!\d|\.\d)")
_ANY_RATING = re.compile(r"rating[*\s]{0,4}:[*\s]{0,4}-?\d")
_RATING_WORD = re.compile(r"rating(?=\W{0,4}:)", re.IGNORECASE)
_APPLES = {
    "contents": ["Table", "Apple"],
    "question": "How many apples are on the table?",
    "answer": "There are three apples on the table.",
}


def render(doc: Mapping[str, Any], response: str) -> str:
    """The judge's prompt for a response whose reasoning has been removed.

    A response can neither end its own block nor hold a rating.
    """
    tags = ("contents", "question", "person", "answer")
    tame = without_tags(response[:LONGEST_RESPONSE], *tags)
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


PROTOCOL = Protocol(
    task="mmhal",
    verdicts="mmhal.jsonl",
    version="1.0",
    render=render,
    parse=parse_rating,
    trials=(
        Trial(_APPLES, "There are three apples on the table.", (3, 4, 5, 6)),
        Trial(_APPLES, "There are nine elephants on the table and no apple.", (0, 1, 2)),
    ),
)
"""A judge must tell a faithful from an invented answer; it rates empty answers too."""

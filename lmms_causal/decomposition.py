"""Recognition-reasoning decomposition, call by call: what is asked, given the replies so far.

Sarkar and Etemad, "VCRBench: Exploring Long-form Causal Reasoning Capabilities of Large Video
Language Models", arXiv 2505.08455 (2025); code pritamqu/VCRBench, whose protocol this is in words
of our own. The intervention ``rrd`` and the tasks ``vcrbench_rrd*`` both ask from here, so they ask
the same. This module knows texts only, neither a model nor a harness.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "COUNT",
    "DESCRIBE_ALL",
    "DESCRIBE_ONE",
    "FROM_TEXT",
    "MOST_CALLS",
    "MOST_CLIPS",
    "WITH_VIDEO",
    "Call",
    "Reasoning",
    "Recognition",
    "clips_named",
    "counted",
    "next_call",
]

DESCRIBE_ALL = (
    "This video joins several clips. A title at the beginning of each shows its number: Clip 1, "
    "Clip 2 and so on. Look closely at every clip, at the small steps of what is done in it and at "
    "what sets it apart from the others. Describe each clip in one sentence, on lines of the form "
    '"Clip 1: ...", "Clip 2: ...". Write these lines only.'
)
COUNT = (
    "This video joins several clips. A title at the beginning of each shows its number. How many "
    "clips are there? Reply with the number alone."
)
DESCRIBE_ONE = (
    "This video joins several clips. A title at the beginning of each shows its number. Look "
    "closely at Clip {number} and at what sets it apart from the others. Say in one sentence what "
    "is done in it. Write this sentence only, and no number of a clip."
)
FROM_TEXT = (
    "You are not shown the video. This is what is done in each of its clips, with the clip's "
    "number:\n\n{described}\n\nAnswer from this text.\n\n{question}"
)
WITH_VIDEO = "To help you, this is a short description of each clip:\n\n{described}\n\n{question}"

MOST_CLIPS = 50
"""A larger count is no count; each clip costs a generation."""
MOST_CALLS = MOST_CLIPS + 3
"""The longest conversation: a count that cannot be read, a description, its clips, the answer."""

Recognition = Literal["single", "sequential"]
"""All clips in one description, or clip by clip."""
Reasoning = Literal["text", "video"]
"""From the description alone, or with the video again."""


@dataclass(frozen=True)
class Call:
    """One call of the model, without a history.

    Attributes:
        text: the words.
        shows_video: whether the whole video goes with them.
        is_last: whether the reply is the answer to the question.
    """

    text: str
    shows_video: bool = True
    is_last: bool = False


def next_call(
    question: str,
    replies: Sequence[str],
    *,
    recognition: Recognition = "single",
    reasoning: Reasoning = "text",
    parity: bool = False,
) -> Call:
    """Return the call that follows the replies so far, which do not hold the last one's.

    Args:
        question: the task's own words.
        replies: to the calls that this function has given before, in order.
        recognition: how the clips are described.
        reasoning: what the answer is given from.
        parity: whether the sequential text repeats the word Clip, as the authors' code does.
    """
    replies = [reply.strip() for reply in replies]
    if recognition == "single":
        return _reasoned(question, replies[0], reasoning) if replies else Call(DESCRIBE_ALL)
    if not replies:
        return Call(COUNT)
    count, told = counted(replies[0]), replies[1:]
    if count is None:
        if not told:
            return Call(DESCRIBE_ALL)
        described, *told = told
        count = clips_named(described)
        if count is None:
            return _reasoned(question, described, reasoning)
    if len(told) < count:
        return Call(DESCRIBE_ONE.format(number=len(told) + 1))
    label = "Clip Clip" if parity else "Clip"
    lines = (f"{label} {number}: {reply}" for number, reply in enumerate(told, start=1))
    return _reasoned(question, "\n".join(lines), reasoning)


def counted(reply: str) -> int | None:
    """Return the first number of a reply; None if there is none, or none that can be a count."""
    found = re.search(r"\d+", reply)
    return _possible(found[0]) if found else None


def clips_named(text: str) -> int | None:
    """Return how many clips a description names; None if it names none."""
    return _possible(str(len(set(re.findall(r"\bclip\s*(\d+)", text, re.IGNORECASE)))))


def _possible(digits: str) -> int | None:
    digits = digits.lstrip("0")  # Python refuses to read thousands of digits
    count = int(digits) if 0 < len(digits) <= len(str(MOST_CLIPS)) else 0
    return count if 0 < count <= MOST_CLIPS else None


def _reasoned(question: str, described: str, reasoning: Reasoning) -> Call:
    frame = FROM_TEXT if reasoning == "text" else WITH_VIDEO
    text = frame.format(described=described, question=question)
    return Call(text, shows_video=reasoning == "video", is_last=True)

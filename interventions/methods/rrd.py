"""Recognition-reasoning decomposition: describe a video's clips first, then answer from that.

Sarkar and Etemad, "VCRBench: Exploring Long-form Causal Reasoning Capabilities of Large Video
Language Models", arXiv 2505.08455 (2025); code pritamqu/VCRBench. Made for videos of several clips,
each with a title that shows its number, which are to be put in order.

Equations
---------
With ``A(text, video)`` the model's greedy answer and ``q`` the task's own question, the first stage
makes a description ``s`` of all clips, and the second is the question that is asked in the end::

    recognition=single       s = A("describe every clip, a line each", video)
    recognition=sequential   M = A("how many clips?", video);   s_i = A("describe clip i", video)
                             s = "Clip 1: s_1", ..., "Clip M: s_M", a line each
    reasoning=text           A(s and q, no video)
    reasoning=video          A(s and q, video)

Clips are not cut out: every call with the video is shown all of it. ``M`` is the model's own count,
which nothing corrects.

Cost
----
One generation more with the video for ``single``, ``M + 1`` for ``sequential``, of at most
``max_new_tokens`` each; all candidates that are scored for one document share them. The last call
is cheap with ``reasoning=text``: there is no video in its prompt.

Paper and code
--------------
The 72B script recognises in a single pass, the 7B script clip by clip; text-only reasoning is the
default of both, ``--reason_with_videos`` the other. They allow 512 tokens a call.

Prompts are our own wording of the protocol. The goal and the form of the answer are not repeated in
them, they come from the task's own question, which stands behind the descriptions; the code writes
them around. The code's sequential text reads ``Clip Clip 1:``, which ``parity=true`` keeps. Where
the reply to the count holds no number the code fails. Here the clips are counted that a single-pass
description names, and if it names none it is handed on as it is. So it is for counts above 50.

Earlier turns of a conversation and a system prompt stay in every call; the benchmark's prompts are
single turns. A model without a video processor sees the frames as pictures.

Published
---------
"Up to 25.2 %" in accuracy on VCRBench (paper's abstract). Without the method, at 1 frame a second,
accuracy / step accuracy: Qwen2.5-VL-7B 7.1 / 20.9, Qwen2.5-VL-72B 29.0 / 44.0 (the project's
leaderboard); 7.1 / 23.6 are expected of random orders. Decoded with the checkpoint's own settings,
seed 42. The clips' numbers stand in title frames only: the frame budget belongs to every result.

Unverified
----------
The gain of each model and of each of the four variants.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal

from lmms_causal.decomposition import (
    COUNT,
    DESCRIBE_ALL,
    DESCRIBE_ONE,
    FROM_TEXT,
    MOST_CLIPS,
    WITH_VIDEO,
    Call,
    Reasoning,
    Recognition,
    clips_named,
    counted,
    next_call,
)
from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.question import Assistant, Question
from lmms_causal.interventions.registry import method

__all__ = [
    "COUNT",
    "DESCRIBE_ALL",
    "DESCRIBE_ONE",
    "FROM_TEXT",
    "MOST_CLIPS",
    "RRD",
    "WITH_VIDEO",
    "clips_named",
    "counted",
]

logger = logging.getLogger(__name__)


@method
@dataclass(frozen=True)
class RRD:
    """Parameters of the decomposition.

    Attributes:
        recognition: ``single``, all clips in one description, or ``sequential``, clip by clip.
        reasoning: ``text``, from the description alone, or ``video``, with the video again.
        parity: whether the sequential text repeats the word Clip, as the code's does.
        max_new_tokens: bound of every answer of the first stage.
        without_video: ``refuse`` questions without a video, or ``skip`` (leave) them.
    """

    recognition: Recognition = "single"
    reasoning: Reasoning = "text"
    parity: bool = False
    max_new_tokens: int = 512
    without_video: Literal["refuse", "skip"] = "refuse"

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(
                f"intervention rrd: max_new_tokens={self.max_new_tokens} must be 1 or more"
            )

    def plan(self) -> Plan:
        """The question is replaced by that of the second stage."""
        return Plan(preparations=(self.prepare,), requirements=(self.requirement,))

    def requirement(self, adapter: ModelAdapter) -> str | None:
        """The model must see, or questions without a video be left alone."""
        if adapter.sees or self.without_video == "skip":
            return None
        return "rrd needs a video, and the model reads text only"

    def prepare(self, question: Question, assistant: Assistant) -> Question:
        """Return the question of the second stage."""
        if not question.videos:
            if self.without_video == "skip":
                return question
            raise UserError(
                f"{question.key}: intervention rrd needs a video and the question shows none; use "
                "without_video=skip to leave such questions untouched"
            )
        replies: list[str] = []
        while not (call := self._next_call(question.text, replies)).is_last:
            asked = replace(question, text=call.text)
            replies.append(assistant.ask(asked, self.max_new_tokens))
        logger.debug("%s: the last question is\n%s", question.key, call.text)
        videos = question.videos if call.shows_video else ()
        return replace(question, text=call.text, videos=videos)

    def _next_call(self, question: str, replies: list[str]) -> Call:
        return next_call(
            question,
            replies,
            recognition=self.recognition,
            reasoning=self.reasoning,
            parity=self.parity,
        )

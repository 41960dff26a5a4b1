"""`vcrbench_rrd` and its variants: the model describes the clips, then answers from that.

lmms-eval holds these conversations itself (``output_type: generate_until_agentic``): it has any
model answer one call after the other and asks `ask` for the next. When the last call is answered,
the transcript becomes the response, so that nothing else can be scored as one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.decomposition import Call, Reasoning, Recognition, next_call
from lmms_causal.errors import UserError
from lmms_causal.tasks.vcrbench_causal import data, documents, scoring

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "Variant", "answer", "ask", "build", "dataset", "read", "transcript"]

Doc = Mapping[str, Any]

REASONING_TAGS = [["<think>", "</think>"], ["<analysis>", "</analysis>"]]
"""lmms-eval's own default."""


@dataclass(frozen=True)
class Variant:
    """How the clips are described, and what the answer is given from; see `next_call`."""

    recognition: Recognition
    reasoning: Reasoning


VARIANTS = {
    "vcrbench_rrd": Variant("single", "text"),
    "vcrbench_rrd_video": Variant("single", "video"),
    "vcrbench_rrd_sequential": Variant("sequential", "text"),
    "vcrbench_rrd_sequential_video": Variant("sequential", "video"),
}
"""Every task of this module by name."""


def build(name: str) -> list[dict[str, Any]]:
    """Documents of ``vcrbench_causal``; its prompt is the question here, the text the first call.

    Raises:
        UserError: unknown task, or data that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no task {name!r} that recognises first; use {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    return [
        {
            **doc,
            "question": doc["text"],
            "text": next_call(doc["text"], [], **vars(variant)).text,
            **vars(variant),
        }
        for doc in documents.build("plain")
    ]


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))


@one_line_errors
def ask(
    doc: Doc,
    lmms_eval_specific_kwargs: Mapping[str, Any] | None = None,
    *,
    round_idx: int | None = None,
    previous_output: Sequence[str] = (),
    previous_round_info: Any = None,
) -> Any:
    """``doc_to_text``: the first call's words, or what follows the replies so far.

    Returns:
        With ``round_idx`` lmms-eval's ``(visuals, text, is the end, outputs, information)``. At the
        end the only output is the transcript. There is never information: lmms-eval would take it
        for the state of a simulation and rewrite the response.
    """
    if round_idx is None:
        return doc["text"]
    calls = _calls(doc, previous_output)
    if calls[-1].is_last:
        return None, None, True, [transcript(calls, previous_output)], None
    call = _next_call(doc, previous_output)
    visuals = [str(data.find_video(doc["video_file"]))] if call.shows_video else []
    return visuals, call.text, False, None, None


@one_line_errors
def answer(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """``process_results``: the last reply, scored as in ``vcrbench_causal``.

    Raises:
        UserError: the response is no whole conversation of this document.
    """
    from lmms_eval.api.reasoning import strip_reasoning_tags

    reply = read(doc, results[0])[-1]
    return scoring.score_answer(doc, strip_reasoning_tags(reply, REASONING_TAGS))


def transcript(calls: Sequence[Call], replies: Sequence[str]) -> str:
    """The conversation as a JSON list of ``{"asked": ..., "reply": ...}``.

    It has no "<": lmms-eval takes thoughts out of responses, which here could run from one reply
    into another. It is no object either, for which lmms-eval has other plans.
    """
    rounds = [
        {"asked": call.text, "reply": reply} for call, reply in zip(calls, replies, strict=True)
    ]
    return json.dumps(rounds, ensure_ascii=False).replace("<", "\\u003c")


def read(doc: Doc, response: str) -> list[str]:
    """The replies of a transcript.

    Raises:
        UserError: the response is none, or its calls are not those of this document to the end.
    """
    try:
        rounds = json.loads(response)
        asked = [str(turn["asked"]) for turn in rounds]
        replies = [str(turn["reply"]) for turn in rounds]
    except (ValueError, KeyError, TypeError, RecursionError):
        asked, replies = [], []
    calls = _calls(doc, replies)
    ends = [number for number, call in enumerate(calls, start=1) if call.is_last]
    if ends != [len(calls)] or [call.text for call in calls] != asked:
        raise UserError(
            f"VCRBench item {doc['id']}: the response {response[:60]!r} is no conversation in two "
            "stages, so it is not scored as one; leave max_agentic_steps out of --gen_kwargs, and "
            "score answers of other tasks with their tasks"
        )
    return replies


def _calls(doc: Doc, replies: Sequence[str]) -> list[Call]:
    """The calls that these replies are to."""
    return [_next_call(doc, replies[:count]) for count in range(len(replies))]


def _next_call(doc: Doc, replies: Sequence[str]) -> Call:
    return next_call(
        doc["question"], replies, recognition=doc["recognition"], reasoning=doc["reasoning"]
    )

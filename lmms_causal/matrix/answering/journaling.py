"""Put a journal on a harness's model: its verbs answer from the journal, and write into it.

The requests of a call are cut into chunks of whole documents, always at the same places, so that a
resumed cell has the very batches of one that was not interrupted. A chunk is answered by the model
in one call and then written down; chunks that are written already are not asked for again. Before
the first chunk the model checks all that it is going to be asked, if it can (``check_inputs``): a
broken picture of the last document ends the call at once, and not when its turn comes.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError
from lmms_causal.matrix.answering.answers import RequestKeys, decode, encode, is_padding
from lmms_causal.matrix.answering.journal import Journal

__all__ = ["VERBS", "chunks", "put_on"]

VERBS = (
    "generate_until",
    "generate_until_multi_round",
    "generate_visual_cot",
    "loglikelihood",
    "loglikelihood_rolling",
)
"""Methods through which both harnesses ask a model."""

_SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON")


def put_on(
    lm: Any, journal: Journal, documents: int, cost: Callable[[], dict[str, Any] | None]
) -> None:
    """Let the verbs of a model go through the journal.

    Args:
        documents: documents of a chunk; what a kill can lose.
        cost: called after each chunk; what the chunk cost.

    The verbs raise UserError, as the model does, where an input is broken: before anything is
    answered if the model has ``check_inputs(requests)``, which returns nothing.
    """
    keys = RequestKeys()
    for verb in VERBS:
        if (ask := getattr(type(lm), verb, None)) is None:
            continue
        bound = functools.partial(ask, lm)
        setattr(lm, verb, _journaled(lm, verb, bound, keys, journal, documents, cost))


def _journaled(
    lm: Any,
    verb: str,
    ask: Callable[..., Any],
    keys: RequestKeys,
    journal: Journal,
    documents: int,
    cost: Callable[[], dict[str, Any] | None],
) -> Callable[..., list[Any]]:
    @one_line_errors
    def answered(requests: Sequence[Any], *args: Any, **kwargs: Any) -> list[Any]:
        _refuse_shards(lm)
        real = [request for request in requests if not is_padding(request)]
        names = [keys(verb, request) for request in real]
        known = sum(name in journal.answers for name in names)
        # Asked of the class: an instance of ours loads its weights for a name that it has not.
        if (check := getattr(type(lm), "check_inputs", None)) is not None and known < len(names):
            journal.check(len(names) - known)
            unknown = {n: r for n, r in zip(names, real, strict=True) if n not in journal.answers}
            check(lm, list(unknown.values()))
        journal.begin(verb, len(names), known)
        for chunk in chunks(real, documents):
            missing = [i for i in chunk if names[i] not in journal.answers]
            missing = list({names[i]: i for i in missing}.values())
            if not missing:
                continue
            start = time.perf_counter()
            given = ask([real[i] for i in missing], *args, **kwargs)
            lines = [
                {
                    "key": names[i],
                    "task": real[i].task_name,
                    "doc": real[i].doc_id,
                    "answer": encode(answer),
                }
                for i, answer in zip(missing, given, strict=True)
            ]
            asked = {(real[i].task_name, real[i].doc_id) for i in missing}
            seconds = time.perf_counter() - start
            journal.add(lines, {"chunk": len(asked), "seconds": seconds, "cost": cost()})
        # All of them through JSON, new ones too: what is scored does not depend on the attempt.
        answers = iter([decode(journal.answers[name]) for name in names])
        return [_thrown_away(verb) if is_padding(it) else next(answers) for it in requests]

    return answered


def chunks(requests: Sequence[Any], documents: int) -> Iterator[list[int]]:
    """Yield indices of requests, of `documents` documents that follow each other at a time."""
    chunk: list[int] = []
    found = 0
    before: Any = None
    for index, request in enumerate(requests):
        document = (request.task_name, request.doc_id)
        if document != before:
            if found == documents:
                yield chunk
                chunk, found = [], 0
            found += 1
            before = document
        chunk.append(index)
    if chunk:
        yield chunk


def _thrown_away(verb: str) -> Any:
    return (0.0, False) if verb == "loglikelihood" else ""


def _refuse_shards(lm: Any) -> None:
    """Refuse models whose ranks must run in step: a resumed rank has fewer calls to make."""
    accelerator = lm.__dict__.get("accelerator")
    kind = str(getattr(accelerator, "distributed_type", "")).upper()
    if any(name in kind for name in _SHARDED):
        raise UserError(
            f"the run cannot resume ranks that hold parts of one model ({kind.split('.')[-1]}); "
            "start one process with device_map=auto among the model's args instead"
        )

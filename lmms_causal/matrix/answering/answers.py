"""Requests and answers of either harness, as keys and JSON."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

__all__ = ["RequestKeys", "decode", "encode", "is_padding"]

_MEDIA = {"visual", "audio"}  # keys of lm-eval's mapping of media, which has no settings


class RequestKeys:
    """Names requests: what is asked of which document, and for the how manyeth time.

    Repetitions are counted over the whole process, in the order in which the harness asks, which is
    the same in every attempt.
    """

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def __call__(self, verb: str, request: Any) -> str:
        """Return the key of one request. Pictures are not in it: see `documents`."""
        texts = [part for part in request.args if isinstance(part, str)]
        settings = [
            part for part in request.args if isinstance(part, dict) and not _MEDIA & part.keys()
        ]
        what = [verb, request.task_name, request.doc_id, request.idx, texts, settings]
        base = _digest(what)
        count = self._seen[base]
        self._seen[base] += 1
        if not isinstance(request.metadata, dict):  # lm-eval fills short ranks up with repetitions
            count %= max(1, int(request.repeats or 1))
        return f"{base}.{count}"


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_padding(request: Any) -> bool:
    """Whether lmms-eval added the request to a short rank only; its answer is thrown away."""
    metadata = request.metadata
    return isinstance(metadata, dict) and bool(metadata.get("__padding_only__"))


def encode(answer: Any) -> dict[str, Any]:
    """Return an answer as JSON; numbers keep all their digits.

    Raises:
        TypeError: an answer of an unknown kind, which cannot be kept.
    """
    counts = getattr(answer, "token_counts", None)
    if hasattr(answer, "text") and not isinstance(answer, str):  # GenerationResult of lmms-eval
        inner = encode(answer.text)
        return {"result": inner, "counts": counts.to_dict() if counts is not None else None}
    if isinstance(answer, str):
        return {"text": answer}
    if isinstance(answer, tuple) and len(answer) == 2 and not isinstance(answer[0], str):
        return {"pair": [float(answer[0]), bool(answer[1])]}
    if isinstance(answer, (int, float)):
        return {"number": float(answer)}
    if isinstance(answer, (list, tuple)):
        return {"tuple" if isinstance(answer, tuple) else "list": json.loads(json.dumps(answer))}
    raise TypeError(f"answers of type {type(answer).__name__} cannot be kept in a journal")


def decode(kept: dict[str, Any]) -> Any:
    """Return the answer that `encode` was given."""
    if "result" in kept:
        from lmms_eval.api.instance import GenerationResult, TokenCounts

        from lmms_causal.models.lmms_eval_forms import LossPair

        inner = decode(kept["result"])
        counts = None if kept["counts"] is None else TokenCounts(**kept["counts"])
        return GenerationResult(LossPair(inner) if isinstance(inner, tuple) else inner, counts)
    if "pair" in kept:
        return (kept["pair"][0], kept["pair"][1])
    if "tuple" in kept:
        return tuple(kept["tuple"])
    return next(iter(kept.values()))

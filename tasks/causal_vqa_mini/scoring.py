"""Scores of single documents, the same functions for both harnesses.

As in `causal_vqa`: ``causal_score`` is a plain number, ``causal_acc`` carries the document's full
record, and a value of None means that the document does not count for that metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.choices import parse_letter, parse_word

__all__ = ["score_answer", "score_choices"]

Values = dict[str, Any]

_CELLS = {
    "clean_acc": ("clean/consistent", "clean/conflict"),
    "clean_conflict_acc": ("clean/conflict",),
    "noisy_consistent_acc": ("noisy/consistent",),
    "noisy_conflict_acc": ("noisy/conflict",),
    "noisy_balanced_acc": ("noisy/consistent", "noisy/conflict"),
}
"""Metrics that are the mean score of some cells. Cells are equally large."""


def score_answer(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one generated answer: a letter for ``order``, else the first listed word."""
    if doc["kind"] == "order":
        return _values(doc, parse_letter(text, {"A": doc["option_a"], "B": doc["option_b"]}))
    return _values(doc, parse_word(text, doc["choices"]))


def score_choices(doc: Mapping[str, Any], scores: Sequence[float]) -> Values:
    """Metrics of the scores (larger is better) of the listed choices; a tie is no answer."""
    top = max(scores)
    best = [choice for choice, score in zip(doc["choices"], scores, strict=True) if score == top]
    return _values(doc, best[0] if len(best) == 1 else None)


def _values(doc: Mapping[str, Any], answer: str | None) -> Values:
    score = float(answer == doc["answer"])
    record = {
        "id": doc["id"],
        "pair_id": doc["pair_id"],
        "score": score,
        "valid": answer is not None,
        "pred": answer,
        "image_id": doc["image_id"],
        "stratum": doc["stratum"],
    }
    values: Values = {"causal_score": score, "causal_acc": record}
    for metric, cells in _CELLS.items():
        values[metric] = score if doc["stratum"] in cells else None
    values["causal_invalid_rate"] = float(answer is None)
    if doc["kind"] == "order":
        record["order"] = doc["order"]
        values["causal_consistent_acc"] = {
            "pair": doc["pair_id"],
            "order": doc["order"],
            "credit": score,
        }
        values["causal_position_bias"] = answer
    return values

"""Scores of single documents, the same functions for both harnesses.

As in `causal_vqa`: ``causal_score`` is a plain number, ``causal_acc`` carries the document's full
record, and a value of None means that the document does not count for that metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks import options
from lmms_causal.tasks.choices import parse_letter, parse_word

__all__ = ["score_answer", "score_choices", "score_options"]

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


def score_options(doc: Mapping[str, Any], scores: Sequence[float]) -> Values:
    """Metrics of the scores (larger is better) of options that are listed without letters.

    A tie (`options.MARGIN`) is undecided and earns what guessing among the tied would.
    """
    choices = doc["choices"]
    choice = options.choose(scores, choices.index(doc["answer"]))
    record = _record(doc, choice.credit)
    record["order"] = doc["order"]
    record["pred"] = None if choice.index is None else choices[choice.index]
    values = _scores(doc, record)
    pair = options.values_of_pair(doc["pair_id"], doc["order"], choices, choice)
    values["causal_consistent_acc"] = pair.pop("consistent_acc")
    return {**values, **pair}


def _record(doc: Mapping[str, Any], score: float) -> Values:
    """What a comparison needs to know about a document besides its score."""
    return {
        "id": doc["id"],
        "pair_id": doc["pair_id"],
        "score": score,
        "image_id": doc["image_id"],
        "stratum": doc["stratum"],
    }


def _scores(doc: Mapping[str, Any], record: Values) -> Values:
    """The metrics that are a mean of the record's score, over all documents or some cells."""
    values: Values = {"causal_score": record["score"], "causal_acc": record}
    for metric, cells in _CELLS.items():
        values[metric] = record["score"] if doc["stratum"] in cells else None
    return values


def _values(doc: Mapping[str, Any], answer: str | None) -> Values:
    record = {
        **_record(doc, float(answer == doc["answer"])),
        "valid": answer is not None,
        "pred": answer,
    }
    values = _scores(doc, record)
    values["causal_invalid_rate"] = float(answer is None)
    if doc["kind"] == "order":
        record["order"] = doc["order"]
        values["causal_consistent_acc"] = {
            "pair": doc["pair_id"],
            "order": doc["order"],
            "credit": record["score"],
        }
        values["causal_position_bias"] = answer
    return values

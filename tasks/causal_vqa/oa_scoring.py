"""Scores of the object-and-activity control, alone and together with causal order.

The control asks whether a model recognises what is in the picture at all: per row two true and two
false statements. The authors' argument is the contrast between a high score here and one near
chance on causal order; ``vqa_causal_full`` asks both and reports causal order given recognition.

Metric values have the same form as in `scoring`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmms_causal.tasks.aggregates import by_pair, mean
from lmms_causal.tasks.causal_vqa.scoring import score_letter
from lmms_causal.tasks.yes_no import parse_yes_no

__all__ = [
    "causal_given_oa",
    "consistency_given_oa",
    "oa_rule",
    "oa_strict",
    "ranks_true_first",
    "score_full",
    "score_statement",
    "score_statement_answer",
    "score_statement_ranking",
]

Values = dict[str, Any]

_CAUSAL_OF_FULL = (
    "causal_score",
    "causal_acc",
    "causal_acc_clean",
    "causal_consistent_acc",
    "causal_invalid_rate",
)
_OA_OF_FULL = ("oa_score", "oa_gen_strict_acc", "oa_gen_invalid_rate")


def _oa_record(doc: Mapping[str, Any], score: float, **more: Any) -> Values:
    return {
        "id": doc["id"],
        "pair_id": doc["pair_id"],
        "score": score,
        "image_id": doc["image_id"],
        "stratum": "vqa/oa",
        **more,
    }


def score_statement(doc: Mapping[str, Any], log_yes: float, log_no: float) -> Values:
    """Metrics of the log-probabilities of "Yes" and "No" for one statement (``vqa_causal_oa``)."""
    score = float(log_yes > log_no if doc["answer"] == "Yes" else log_yes < log_no)
    view = {"pair": doc["pair_id"], "index": doc["index"], "margin": log_yes - log_no}
    return {"oa_score": score, "oa_soft_acc": _oa_record(doc, score, **view), "oa_acc": view}


def oa_rule(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Share of rows in which both true statements beat both false ones: chance 1/6.

    The authors' rule ``min(s0, s1) > max(s2, s3)`` on the log-odds of yes.
    """
    return mean(
        float(ranks_true_first([record["margin"] for record in row]))
        for row in by_pair(records, (0, 1, 2, 3), "index")
    )


def ranks_true_first(scores: Sequence[float]) -> bool:
    """``min(s0, s1) > max(s2, s3)``, false whenever a score is not a number."""
    if any(math.isnan(score) for score in scores):
        return False
    return min(scores[0], scores[1]) > max(scores[2], scores[3])


def score_statement_ranking(doc: Mapping[str, Any], scores: Sequence[float]) -> Values:
    """Metrics of the four statements' scores, larger is better (``vqa_causal_oa_itm``)."""
    score = float(ranks_true_first(scores))
    return {"oa_score": score, "oa_acc": _oa_record(doc, score, scores=list(scores))}


def score_statement_answer(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one generated yes or no about a statement (``vqa_causal_oa_gen``)."""
    answer = parse_yes_no(text)
    score = float(answer == doc["answer"].lower())
    valid = answer is not None
    return {
        "oa_score": score,
        "oa_gen_soft_acc": _oa_record(doc, score, index=doc["index"], valid=valid, pred=answer),
        "oa_gen_strict_acc": {"pair": doc["pair_id"], "index": doc["index"], "credit": score},
        "oa_gen_invalid_rate": float(not valid),
    }


def oa_strict(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Share of rows with all four answers right: chance 1/16."""
    return mean(
        float(all(record["credit"] == 1 for record in row))
        for row in by_pair(records, (0, 1, 2, 3), "index")
    )


def score_full(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one generated answer of ``vqa_causal_full``: a letter or a yes/no, by ``kind``."""
    # Identity and picture of every document: only the letters have a record that holds them.
    view: Values = {"id": doc["id"], "pair": doc["pair_id"], "image_id": doc["image_id"]}
    if doc["kind"] == "causal":
        scored = score_letter(doc, text)
        view |= {"order": doc["order"], "credit": scored["causal_score"]}
    else:
        scored = score_statement_answer(doc, text)
        view |= {"index": doc["index"], "credit": scored["oa_score"]}
    values = {name: scored.get(name) for name in (*_CAUSAL_OF_FULL, *_OA_OF_FULL)}
    return {**values, "causal_acc_given_oa": view, "causal_consistent_acc_given_oa": view}


def causal_given_oa(records: Iterable[Mapping[str, Any]]) -> float:
    """Mean causal score over the rows whose four statements were all answered right."""
    return mean(record["credit"] for record in _recognised(records))


def consistency_given_oa(records: Iterable[Mapping[str, Any]]) -> float:
    """Consistent accuracy over the rows whose four statements were all answered right."""
    pairs = by_pair(_recognised(records), ("cw", "wc"), "order")
    return mean(first["credit"] * second["credit"] for first, second in pairs)


def _recognised(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    records = list(records)
    statements = [record for record in records if "index" in record]
    rows = by_pair(statements, (0, 1, 2, 3), "index")
    passed = {row[0]["pair"] for row in rows if all(record["credit"] == 1 for record in row)}
    return [record for record in records if "order" in record and record["pair"] in passed]

"""Scores of single documents and their aggregation, the same functions for both harnesses.

Every ``score_*`` function returns the task's metrics for one document. The first one is a plain
number whose name ends in ``score``; it is what lmms-eval's ``--baseline`` pairs. Exactly one other
metric is the mean of the same kind of score over documents and carries the document's *record*: a
mapping with ``score`` and ``image_id``, from which lmms-eval derives standard errors clustered by
picture. The rest hold only what their aggregation needs, or None where the document does not count.

A degenerate pair (two identical captions) has no right answer: any valid letter scores 0.5. Letter
and yes/no answers that cannot be read score 0 and are counted by the ``invalid_rate``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmms_causal.tasks import options
from lmms_causal.tasks.aggregates import by_pair, mean
from lmms_causal.tasks.causal_vqa.captions import CONNECTORS
from lmms_causal.tasks.choices import parse_letter
from lmms_causal.tasks.yes_no import parse_yes_no

__all__ = [
    "follows_yes_no_rule",
    "margin_accuracy",
    "pair_credit",
    "score_connectors",
    "score_letter",
    "score_options",
    "score_ranking",
    "score_yes_no",
    "score_yes_no_answer",
    "yes_no_rule",
    "yes_no_rule_macro",
]

Values = dict[str, Any]


def _record(doc: Mapping[str, Any], score: float, **more: Any) -> Values:
    """What a comparison needs to know about a document besides its score."""
    return {
        "id": doc["id"],
        "pair_id": doc["pair_id"],
        "score": score,
        "clean": doc["clean"],
        "degenerate": doc["degenerate"],
        "image_id": doc["image_id"],
        "stratum": f"{doc['source']}/{doc['connector']}",
        **more,
    }


def _with_clean(doc: Mapping[str, Any], values: Values) -> Values:
    """Add a ``_clean`` twin of each value, None for a document outside the clean subset."""
    clean = {
        f"{name}_clean": _slim(value) if doc["clean"] else None for name, value in values.items()
    }
    return {**values, **clean}


def _slim(value: Any) -> Any:
    """A record without what its first copy says already; other values as they are."""
    if isinstance(value, dict) and "score" in value:
        return {"score": value["score"], "image_id": value["image_id"]}
    return value


def _pair(doc: Mapping[str, Any]) -> str:
    return f"{doc['pair_id']}/{doc['connector']}"


def score_letter(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one generated answer to the letter question (tasks ``*_mc``, ``*_blind``)."""
    letter = parse_letter(text, {"A": doc["option_a"], "B": doc["option_b"]})
    valid = letter is not None
    score = 0.5 * valid if doc["degenerate"] else float(letter == doc["answer"])
    record = _record(doc, score, order=doc["order"], valid=valid, pred=letter)
    values = {
        "causal_acc": record,
        "causal_consistent_acc": {"pair": _pair(doc), "order": doc["order"], "credit": score},
        "causal_position_bias": letter,
        "causal_invalid_rate": float(not valid),
    }
    return {"causal_score": score, **_with_clean(doc, values)}


def score_connectors(doc: Mapping[str, Any], text: str) -> Values:
    """`score_letter` plus the breakdown by connector (tasks ``*_12``)."""
    values = score_letter(doc, text)
    score, letter = values["causal_score"], values["causal_acc"]["pred"]
    sentence = "A" if (doc["order"] == "cw") == (doc["direction"] == "backward") else "B"
    values["causal_prefers_sentence_rate"] = None if letter is None else float(letter == sentence)
    for direction in ("backward", "forward"):
        values[f"causal_acc_{direction}"] = score if doc["direction"] == direction else None
    for connector in CONNECTORS:
        counts = doc["connector"] == connector.text
        values[f"causal_acc_{connector.slug}"] = score if counts else None
    return values


def score_options(
    doc: Mapping[str, Any], scores: Sequence[float], *, by_length: bool = False
) -> Values:
    """Metrics of the scores (larger is better) of both captions as answers (tasks ``*_options``).

    Args:
        doc: the document; ``scores`` are in the order of its ``choices``, the right one first.
        scores: log-likelihoods.
        by_length: also report ``causal_acc_norm`` and ``position_bias_norm``, decided by scores per
            character. For summed log-likelihoods only; a mean per token needs no correction.
    """
    choices, order = doc["choices"], doc["order"]
    choice = options.choose(scores, doc["answer"])
    pred = None if choice.index is None else ("correct", "wrong")[choice.index]
    pair = options.values_of_pair(_pair(doc), order, ("correct", "wrong"), choice)
    values: Values = {
        "causal_acc": _record(doc, choice.credit, order=order, pred=pred),
        "causal_consistent_acc": pair["consistent_acc"],
        "position_bias": pair["position_bias"],
    }
    if by_length:
        choice = options.choose_by_length(scores, choices, doc["answer"])
        normed = options.values_of_pair(_pair(doc), order, ("correct", "wrong"), choice)
        values["causal_acc_norm"] = choice.credit
        values["position_bias_norm"] = normed["position_bias"]
    return {
        "causal_score": values["causal_acc"]["score"],
        **_with_clean(doc, values),
        "first_rate": pair["first_rate"],
        "tie_rate": pair["tie_rate"],
    }


def score_yes_no(doc: Mapping[str, Any], log_yes: float, log_no: float) -> Values:
    """Metrics of the log-probabilities of "Yes" and "No" for one caption (tasks ``*_yn``)."""
    score = float(log_yes > log_no if doc["role"] == "correct" else log_yes < log_no)
    view = {"pair": _pair(doc), "role": doc["role"], "yes": log_yes, "no": log_no}
    turned = doc["direction"] == "forward"
    sentence = {"correct": "wrong", "wrong": "correct"}[doc["role"]] if turned else doc["role"]
    record = _record(doc, score, connector=doc["connector"], **view)
    values: Values = {"causal_acc": record, "yn_rule_acc": view, "yn_margin_acc": view}
    values = {"causal_score": score, **_with_clean(doc, values)}
    values["yn_yes_rate"] = float(log_yes > log_no)
    values["yn_rule_acc_macro"] = {**view, "connector": doc["connector"]}
    values["yn_rule_sentence_rate"] = {**view, "role": sentence}
    for direction in ("backward", "forward"):
        values[f"yn_rule_acc_{direction}"] = view if doc["direction"] == direction else None
    for connector in CONNECTORS:
        counts = doc["connector"] == connector.text
        values[f"yn_rule_acc_{connector.slug}"] = view if counts else None
    return values


def follows_yes_no_rule(yes: float, no: float, wrong_yes: float, wrong_no: float) -> bool:
    """The authors' rule on the right caption's (yes, no) and the wrong caption's.

    ``(y > n and y > y') or (y < n and n < n')``, all strict: a "yes" must be surer than on the
    wrong caption, a "no" less sure. Any monotone transform of the probabilities gives the same
    result, so log-probabilities serve. Chance is 1/2; identical captions fail.
    """
    return (yes > no and yes > wrong_yes) or (yes < no and no < wrong_no)


def yes_no_rule(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Share of pairs that follow `follows_yes_no_rule`."""
    return mean(
        float(follows_yes_no_rule(right["yes"], right["no"], wrong["yes"], wrong["no"]))
        for right, wrong in by_pair(records, ("correct", "wrong"), "role")
    )


def yes_no_rule_macro(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Unweighted mean over connectors of `yes_no_rule`."""
    present = [record for record in records if record is not None]
    connectors = dict.fromkeys(record["connector"] for record in present)
    return mean(
        yes_no_rule(record for record in present if record["connector"] == connector)
        for connector in connectors
    )


def margin_accuracy(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Share of pairs whose right caption has the larger log-odds of yes; a tie counts half."""
    margins = [
        (right["yes"] - right["no"]) - (wrong["yes"] - wrong["no"])
        for right, wrong in by_pair(records, ("correct", "wrong"), "role")
    ]
    return mean(0.5 if margin == 0 else float(margin > 0) for margin in margins)


def score_yes_no_answer(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one generated yes or no about a caption (tasks ``*_yn_gen``)."""
    answer = parse_yes_no(text)
    score = float(answer == doc["answer"].lower())
    valid = answer is not None
    view = {"pair": _pair(doc), "role": doc["role"], "valid": valid, "credit": score}
    record = _record(doc, score, role=doc["role"], valid=valid, pred=answer)
    return {
        "causal_score": score,
        **_with_clean(doc, {"causal_acc": record, "yn_gen_acc": view}),
        "yn_gen_yes_rate": None if answer is None else float(answer == "yes"),
        "yn_gen_invalid_rate": float(not valid),
    }


def pair_credit(records: Iterable[Mapping[str, Any] | None]) -> float:
    """1 for yes on the right and no on the wrong caption, 0.5 for the same answer on both.

    0 for the reverse, and 0 if either answer is invalid. Never comparable with `yes_no_rule`.
    """
    pairs = by_pair(records, ("correct", "wrong"), "role")
    return mean(
        (right["credit"] + wrong["credit"]) / 2 if right["valid"] and wrong["valid"] else 0.0
        for right, wrong in pairs
    )


def score_ranking(
    doc: Mapping[str, Any], scores: Sequence[float], *, by_length: bool = False
) -> Values:
    """Metrics of the scores (larger is better) of both captions (tasks ``*_itm``).

    Args:
        doc: the document; ``scores`` are in the order of its ``choices``.
        scores: similarities, or log-likelihoods.
        by_length: also report ``itm_acc_norm`` on scores per character. For summed
            log-likelihoods only; a mean per token needs no correction.
    """
    right, wrong = scores[doc["answer"]], scores[1 - doc["answer"]]
    strict = _wins(right, wrong, tie=0.5)
    first_is_sentence = doc["direction"] == "backward"
    values: Values = {
        "itm_acc": _record(doc, _wins(right, wrong, tie=1.0), right=right, wrong=wrong),
        "itm_acc_strict": strict,
    }
    if by_length:
        lengths = [len(choice) for choice in doc["choices"]]
        values["itm_acc_norm"] = _wins(
            right / lengths[doc["answer"]], wrong / lengths[1 - doc["answer"]], tie=0.5
        )
    prefers = strict if first_is_sentence else 1 - strict
    return {
        "causal_score": strict,
        **_with_clean(doc, values),
        "itm_prefers_sentence_rate": prefers,
    }


def _wins(right: float, wrong: float, tie: float) -> float:
    """1 if right beats wrong, ``tie`` if they are equal; a NaN never wins."""
    return tie if right == wrong else float(right > wrong)

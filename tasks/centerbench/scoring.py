"""The strict verdict on one answer, and the values it gives to every metric.

The published scorer accepts an answer whose sentence embedding is close to the reference's, so it
cannot tell "the dog chased the cat" from "the cat chased the dog"; see `official`. Here every word
counts, and its place: same events, same roles, same order, none missing, none added. Inflection,
articles, case and punctuation do not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lmms_causal.tasks.centerbench import official
from lmms_causal.tasks.centerbench.answers import clean, events, is_nothing, number, rooted, words
from lmms_causal.tasks.centerbench.data import SUBSETS, TYPES
from lmms_causal.tasks.centerbench.verbs import CHAIN, FIXED

__all__ = ["LEVELS", "is_correct", "score_answer"]

LEVELS = range(1, 7)


def is_correct(doc: Mapping[str, Any], text: str) -> bool:
    """Whether the text answers the question of the document, by the strict rules.

    Args:
        doc: needs ``type``, ``answer``, ``entity`` and ``verb_forms`` (JSON).
        text: what the model wrote, reasoning included.
    """
    given = clean(text)
    reference = " ".join(doc["answer"].lower().split())
    kind = doc["type"]
    if not given:
        return False
    if kind == "entity_count":
        return number(given) == reference
    if reference in FIXED or is_nothing(given):
        return reference in FIXED and is_nothing(given)
    if kind == "agent_identification":
        return words(given) == words(reference)
    forms = json.loads(doc["verb_forms"])
    if kind == "causal_sequence":
        return events(given, forms) == [rooted(part, forms) for part in reference.split(CHAIN)]
    said, expected = rooted(given, forms), rooted(reference, forms)
    if kind == "action_performed" and said != expected:
        entity = words(doc["entity"].lower())
        return said[: len(entity)] == entity and said[len(entity) :] == expected
    return said == expected


def score_answer(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one generated answer; None where the document does not count.

    ``official_*`` are None unless the published matcher is at hand (see `official`).
    """
    score = float(is_correct(doc, text))
    accepted = official.verdict(text, doc["answer"], doc["type"])
    loose = None if accepted is None else float(accepted)
    record = {
        "id": doc["id"],
        "pair_id": doc["pair_id"],
        "sentence_id": doc["sentence_id"],
        "score": score,
        "official": loose,
        "pred": clean(text)[:400],
        "subset": doc["subset"],
        "level": doc["level"],
        "type": doc["type"],
        "stratum": f"{doc['subset']}/{doc['level']}",
    }
    values: dict[str, Any] = {"centerbench_score": score, "centerbench_acc": record}
    for subset in SUBSETS:
        values[f"{subset}_acc"] = score if doc["subset"] == subset else None
    for difficulty in ("easy", "medium", "hard"):
        values[f"{difficulty}_acc"] = score if doc["difficulty"] == difficulty else None
    for kind in TYPES:
        values[f"{kind}_acc"] = score if doc["type"] == kind else None
    values["middle_acc"] = score if doc["is_middle"] else None
    values["clean_acc"] = None if doc["known_bad"] else score
    values["empty_invalid_rate"] = float(not clean(text))
    return values | _gaps(doc, score) | _official(doc, score, loose)


def _gaps(doc: Mapping[str, Any], score: float) -> dict[str, Any]:
    """What the metrics that compare the subsets are computed from, see `gap`."""
    # Not "score": from that, lmms-eval would derive a standard error over documents.
    answer = {"sentence": doc["sentence_id"], "credit": score}
    values: dict[str, Any] = dict.fromkeys(
        ("gap", "gap_ci_low", "gap_ci_high", "gap_macro", "gap_median", "gap_slope"), answer
    )
    for level in LEVELS:
        values[f"gap_c{level}"] = answer if doc["level"] == level else None
    for kind in TYPES:
        values[f"gap_{kind}"] = answer if doc["type"] == kind else None
    return values


def _official(doc: Mapping[str, Any], score: float, loose: float | None) -> dict[str, Any]:
    if loose is None:
        return dict.fromkeys(("official_acc", "official_gap", "official_excess"))
    return {
        "official_acc": loose,
        "official_gap": {"sentence": doc["sentence_id"], "credit": loose},
        "official_excess": 100 * (loose - score),
    }

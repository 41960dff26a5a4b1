"""MME's sub-scores: ``100 acc + 100 acc+`` per category, by the harness's parser and by ours.

``acc`` is the share of right answers, ``acc+`` that of pictures with both questions right, so a
category has at most 200. Pictures of which only one question was asked (``--limit``) are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from lmms_causal.tasks.aggregates import mean
from lmms_causal.tasks.mme_subscores.data import COGNITION, HALLUCINATION, PERCEPTION
from lmms_causal.tasks.yes_no import commit_to_yes_or_no

__all__ = ["SUMS", "harness_prediction", "score_all", "score_hallucination", "sum_of_categories"]

Records = Iterable[Mapping[str, Any] | None]

SUMS = {"perception": PERCEPTION, "cognition": COGNITION, "hallucination": HALLUCINATION}
"""The sums that are reported: at most 2000, 800 and 800."""


def harness_prediction(text: str) -> str | None:
    """The rule of lmms-eval's task ``mme``: "yes", "no" or None.

    Exactly yes or no (or y, n) after lower-casing and without full stops; otherwise "yes", then
    "no", anywhere in the first four characters.

    >>> harness_prediction("Yes, it is."), harness_prediction("Answer: yes")
    ('yes', None)
    """
    plain = text.lower().strip().replace(".", "")
    if plain in ("yes", "no"):
        return plain
    if plain in ("y", "n"):
        return {"y": "yes", "n": "no"}[plain]
    start = plain[:4]
    if "yes" in start:
        return "yes"
    return "no" if "no" in start else None


def score_all(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one answer (``mme_subscores``)."""
    return _values(doc, text, PERCEPTION + COGNITION, tuple(SUMS))


def score_hallucination(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one answer (``mme_hallucination``)."""
    return _values(doc, text, HALLUCINATION, ("hallucination",))


def _values(
    doc: Mapping[str, Any], text: str, categories: tuple[str, ...], sums: tuple[str, ...]
) -> dict[str, Any]:
    pred = commit_to_yes_or_no(text)
    score = float(pred == doc["answer"])
    shared = {"pair": doc["pair_id"], "category": doc["category"]}
    view = {**shared, "credit": float(harness_prediction(text) == doc["answer"])}
    strict = {**shared, "credit": score}
    record = {
        "id": doc["id"],
        "image_id": doc["image_id"],
        "pair_id": doc["pair_id"],
        "score": score,
        "stratum": doc["stratum"],
        "valid": pred is not None,
        "pred": pred,
    }
    values: dict[str, Any] = {"mme_strict_score": score, "mme_strict_acc": record}
    for name in categories:
        values[f"mme_{name.lower()}"] = view if doc["category"] == name else None
    for name in sums:
        counts = doc["category"] in SUMS[name]
        values[f"mme_{name}_total"] = view if counts else None
        values[f"mme_strict_{name}_total"] = strict if counts else None
    values["mme_yes_ratio"] = {"gold": doc["answer"], "pred": pred}
    values["mme_invalid_rate"] = float(pred is None)
    return values


def sum_of_categories(records: Records) -> float:
    """Sum over the categories that are there of ``100 acc + 100 acc+``; NaN without any pair."""
    pairs: dict[tuple[str, Any], list[float]] = defaultdict(list)
    for record in records:
        if record is not None:
            pairs[record["category"], record["pair"]].append(record["credit"])
    whole: dict[str, list[list[float]]] = defaultdict(list)
    for (category, _), credits in pairs.items():
        if len(credits) == 2:
            whole[category].append(credits)
    scores = [
        100 * mean(credit for pair in both for credit in pair)
        + 100 * mean(float(min(pair) == 1) for pair in both)
        for both in whole.values()
    ]
    return sum(scores) if scores else float("nan")

"""Scores of one answer; the sums over documents are in the aggregations.

In the yes/no part the detected class is "no": precision is the share of answers "no" that are
right. The authors' script takes nothing but the exact answers ``Yes`` and ``No`` (metrics
``amber_d_exact_*``); ours reads any answer that commits to one of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmms_causal.tasks.amber.data import vocabulary
from lmms_causal.tasks.amber.objects import match, words_of
from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.detection import f1_of_no
from lmms_causal.tasks.yes_no import commit_to_yes_or_no

__all__ = ["DIMENSIONS", "combined", "ratio", "score_description", "score_question"]

Records = Iterable[Mapping[str, Any] | None]

DIMENSIONS = {
    "existence": ("existence",),
    "attribute": ("state", "number", "action"),
    "state": ("state",),
    "number": ("number",),
    "action": ("action",),
    "relation": ("relation",),
}
"""Reported dimensions, and the dimensions of questions that count for each."""


def score_question(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one yes/no answer (``amber_discriminative``)."""
    gold, pred = doc["answer"], commit_to_yes_or_no(text)
    score = float(pred == gold)
    view = {"gold": gold, "pred": pred}
    exact = {"gold": gold, "pred": {"Yes": "yes", "No": "no"}.get(text.strip())}
    record = {
        "id": doc["id"],
        "image_id": doc["image_id"],
        "score": score,
        "stratum": doc["stratum"],
        "valid": pred is not None,
        **view,
    }
    values: dict[str, Any] = {"amber_d_score": score, "amber_d_acc": record}
    for metric in ("precision", "recall", "f1"):
        values[f"amber_d_{metric}"] = view
    for name, parts in DIMENSIONS.items():
        counts = doc["dimension"] in parts
        values[f"amber_d_acc_{name}"] = view if counts else None
        values[f"amber_d_f1_{name}"] = view if counts else None
    for metric in ("acc", "precision", "recall", "f1"):
        values[f"amber_d_exact_{metric}"] = exact
    values["amber_d_yes_ratio"] = view
    values["amber_d_invalid_rate"] = float(pred is None)
    values["amber_combined_score"] = view
    return values


def score_description(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one description (``amber_generative``)."""
    words = vocabulary()
    written = strip_reasoning(text)
    found = match(words_of(written, words), doc["truth"], doc["imagined"], words)
    wrong = sum(found.wrong)
    score = float(wrong == 0)
    chair_part = {"part": wrong, "whole": len(found.words)}
    record = {
        "id": doc["id"],
        "image_id": doc["image_id"],
        "score": score,
        "stratum": doc["stratum"],
        "pred": [word for word, is_wrong in zip(found.words, found.wrong, strict=True) if is_wrong],
    }
    return {
        "amber_g_score": score,
        "amber_g_faithful_acc": record,
        "amber_g_chair": chair_part,
        "amber_g_cover": {"part": found.covered, "whole": len(doc["truth"])},
        "amber_g_hal": 1 - score,
        "amber_g_cog": {"part": found.imagined, "whole": len(doc["imagined"])},
        "amber_g_words": len(written.split()),
        "amber_combined_score": chair_part,
    }


def ratio(records: Records) -> float:
    """Sum of the parts by the sum of the wholes; NaN if the latter is 0."""
    present = [record for record in records if record is not None]
    whole = sum(record["whole"] for record in present)
    return sum(record["part"] for record in present) / whole if whole else float("nan")


def combined(records: Records) -> float:
    """One half of AMBER's score: F1 of the questions, or 1 - CHAIR of the descriptions.

    The group ``amber`` averages both: ``(1 - CHAIR + F1) / 2``.
    """
    present = [record for record in records if record is not None]
    if present and "whole" in present[0]:
        return 1 - ratio(present)
    return f1_of_no(present)

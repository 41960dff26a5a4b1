"""Ratings of single answers.

If more than `aggregates.TOLERATED` of the answers have no rating, the numbers are of a selection:
they are NaN, and ``mmhal_judge_failed`` says how many are missing. Replies are cached, so running
again asks about these only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.mmhal.data import TYPES
from lmms_causal.tasks.mmhal.judge import HALLUCINATES_BELOW, PROTOCOL

__all__ = ["score_answer"]


def score_answer(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one generated answer; asks the judge."""
    written = strip_reasoning(text)
    ruling = PROTOCOL.rule_on(doc, written)
    rating = math.nan if ruling.verdict is None else float(ruling.verdict)
    hallucinates = math.nan if math.isnan(rating) else float(rating < HALLUCINATES_BELOW)
    judged = PROTOCOL.record(ruling)
    record = {
        "id": doc["id"],
        "image_id": doc["image_id"],
        # Without a rating there is no score: lmms-eval would stumble over None at the run's end.
        **({} if ruling.verdict is None else {"score": rating}),
        "stratum": doc["stratum"],
        **judged,
    }
    values: dict[str, Any] = {
        "mmhal_score": rating,
        "mmhal_rating_score": record,
        "mmhal_hallucination_rate": hallucinates,
    }
    for kind in TYPES:
        values[f"mmhal_{kind}_score"] = rating if doc["kind"] == kind else None
    values["mmhal_judge_failed"] = float(judged["failed"])
    values["mmhal_judge_model"] = judged
    values["mmhal_empty_rate"] = float(not written)
    return values

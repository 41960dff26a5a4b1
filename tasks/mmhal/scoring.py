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
from lmms_causal.tasks.mmhal.judge import HALLUCINATES_BELOW, PROMPT_VERSION, rule_on

__all__ = ["score_answer"]


def score_answer(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one generated answer; asks the judge."""
    written = strip_reasoning(text)
    settings, ruling = rule_on(doc, written)
    rating = math.nan if ruling.verdict is None else float(ruling.verdict)
    hallucinates = math.nan if math.isnan(rating) else float(rating < HALLUCINATES_BELOW)
    record = {
        "id": doc["id"],
        "image_id": doc["image_id"],
        "score": None if math.isnan(rating) else rating,
        "stratum": doc["stratum"],
        "judge": None if settings is None else settings.model,
        "judge_served": ruling.served,
        "judge_host": None if settings is None else settings.host,
        "judge_prompt": PROMPT_VERSION,
        "judge_reply": ruling.reply,
        "judge_problem": ruling.problem,
    }
    values: dict[str, Any] = {
        "mmhal_score": rating,
        "mmhal_rating_score": record,
        "mmhal_hallucination_rate": hallucinates,
    }
    for kind in TYPES:
        values[f"mmhal_{kind}_score"] = rating if doc["kind"] == kind else None
    values["mmhal_judge_failed"] = float(ruling.verdict is None)
    values["mmhal_empty_rate"] = float(not written)
    return values

"""Explanations by the judge's verdict.

An explanation without a verdict counts as failed and not as wrong: its values are NaN. If more than
1 % of those a mean is over have none, the mean is NaN (`tasks.aggregates.mean_rating`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lmms_causal.tasks.mucr.explanations import words
from lmms_causal.tasks.mucr.judge import PROTOCOL
from lmms_causal.tasks.mucr.parsing import without_reasoning
from lmms_causal.tasks.mucr.scoring import by_kind, record_of

__all__ = ["score_by_judge"]


def score_by_judge(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one explanation; asks the judge. Never raises: a failed call is counted."""
    written = without_reasoning(text)
    ruling = PROTOCOL.rule_on(doc, written)
    verdict = math.nan if ruling.verdict is None else float(ruling.verdict)
    judged = PROTOCOL.record(ruling)
    record = {**record_of(doc, verdict), **judged}
    if ruling.verdict is None:
        del record["score"]  # lmms-eval would stumble over None at the run's end, compare over NaN
    return {
        "exp_judge_score": verdict,
        "exp_judge_acc": record,
        **by_kind(doc, "exp_judge_acc", verdict),
        "exp_judge_failed": float(judged["failed"]),
        "exp_judge_model": judged,
        "mucr_invalid_rate": float(not words(written)),
    }

"""Explanations by the judge's verdict, and who judged.

An explanation without a verdict counts as failed and not as wrong: its values are NaN. If more than
1 % of those a mean is over have none, the mean is NaN (`tasks.aggregates.mean_rating`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lmms_causal.tasks.mucr.explanations import words
from lmms_causal.tasks.mucr.judge import PROMPT_VERSION, rule_on
from lmms_causal.tasks.mucr.parsing import without_reasoning
from lmms_causal.tasks.mucr.scoring import by_kind, record_of

__all__ = ["score_by_judge", "who_judged"]


def score_by_judge(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one explanation; asks the judge. Never raises: a failed call is counted."""
    written = without_reasoning(text)
    settings, ruling = rule_on(doc, written)
    failed = ruling.verdict is None
    verdict = math.nan if ruling.verdict is None else float(ruling.verdict)
    judge = {
        **(asdict(settings) if settings else {}),
        "served": ruling.served,
        "prompt": PROMPT_VERSION,
        "reply": ruling.reply,
        "problem": ruling.problem,
        "calls": ruling.calls,
        "cached": ruling.cached,
    }
    return {
        "exp_judge_score": verdict,
        "exp_judge_acc": {**record_of(doc, verdict), "score": None if failed else verdict, **judge},
        **by_kind(doc, "exp_judge_acc", verdict),
        "exp_judge_failed": float(failed),
        "exp_judge_model": {**judge, "failed": failed},
        "mucr_invalid_rate": float(not words(written)),
    }


def who_judged(records: Sequence[Mapping[str, Any]]) -> str:
    """One line: the model asked for, where, prompt, the server's name for it, and how often."""
    asked = {
        f"{record['model']} by {record['provider']} at {record['host']}, prompt {record['prompt']}"
        if "model" in record
        else "no judge"
        for record in records
    }
    served = sorted({str(record["served"]) for record in records} - {"None"})
    calls, cached, failed = (
        sum(int(record[key]) for record in records) for key in ("calls", "cached", "failed")
    )
    return (
        f"{'; '.join(sorted(asked))}; served as {', '.join(served) or 'nothing'}; {calls} calls, "
        f"{cached} cached, {failed} failed"
    )

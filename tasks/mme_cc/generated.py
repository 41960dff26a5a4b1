"""``process_results`` of all tasks, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.mme_cc import scoring

Doc = Mapping[str, Any]


def judged(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """``mme_cc_judge`` and its blind twin; called from several threads by lmms-eval."""
    return scoring.score_by_judge(doc, results[0])


def ruled(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """``mme_cc_rule`` and its blind twin."""
    return scoring.score_by_rules(doc, results[0])

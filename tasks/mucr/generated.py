"""``process_results`` of the tasks that generate text, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.mucr import judged, scoring

Doc = Mapping[str, Any]


def letter(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """Tasks that answer with a letter."""
    return scoring.score_letter(doc, results[0])


def explanation(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """``mucr_exp`` and its other forms."""
    return scoring.score_explanation(doc, results[0])


def judged_explanation(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """``mucr_exp_judge`` and its blind twin."""
    return judged.score_by_judge(doc, results[0])

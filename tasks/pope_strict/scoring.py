"""Scores of one answer: strict, and by the rule of the contrastive decoding papers.

The papers' rule (repository DAMO-NLP-SG/VCD, ``experiments/eval/eval_pope.py``) looks for the gold
word anywhere in the lower-cased answer: with gold "yes" the answer is right if it contains "yes",
with gold "no" if it contains "no", also inside "not" or "know". Everything else is wrong and counts
as the other answer. So an answer that says both is always right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmms_causal.tasks.yes_no import commit_to_yes_or_no

__all__ = ["papers_prediction", "score_answer"]


def papers_prediction(text: str, gold: str) -> str:
    """What the papers' rule takes the answer for, given the gold answer: "yes" or "no".

    >>> papers_prediction("I do not know", "no"), papers_prediction("I do not know", "yes")
    ('no', 'no')
    """
    other = {"yes": "no", "no": "yes"}[gold]
    return gold if gold in text.lower().strip() else other


def score_answer(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one generated answer; records are aggregated by `tasks.detection`."""
    gold = doc["answer"]
    pred = commit_to_yes_or_no(text)
    score = float(pred == gold)
    record = {
        "id": doc["id"],
        "image_id": doc["image_id"],
        "score": score,
        "stratum": doc["stratum"],
        "valid": pred is not None,
        "gold": gold,
        "pred": pred,
    }
    view = {"gold": gold, "pred": pred}
    papers = {"gold": gold, "pred": papers_prediction(text, gold)}
    return {
        "pope_score": score,
        "pope_acc": record,
        "pope_precision": view,
        "pope_recall": view,
        "pope_f1": view,
        "pope_yes_ratio": view,
        "pope_invalid_rate": float(pred is None),
        "pope_vcd_acc": papers,
        "pope_vcd_precision": papers,
        "pope_vcd_recall": papers,
        "pope_vcd_f1": papers,
        "pope_vcd_yes_ratio": papers,
    }

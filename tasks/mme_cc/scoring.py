"""Values of single documents: by the judge (tasks ``mme_cc_judge*``) or by rules (``*_rule*``).

A value of None means that the document does not count for that metric: it belongs to another
category or task, or the judge gave no verdict. All values are fractions of 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.mme_cc.judge import PROTOCOL
from lmms_causal.tasks.mme_cc.rules import decide
from lmms_causal.tasks.mme_cc.subtasks import CATEGORIES, category_of, task_of

__all__ = ["PARTS", "score_by_judge", "score_by_rules"]

Values = dict[str, Any]

PARTS: dict[str, str] = {
    **{task.lower(): task for tasks in CATEGORIES.values() for task in tasks},
    "maze06": "Maze06",
    "maze10": "Maze10",
}
"""Ends of the names of per-task metrics, with the task or, for the mazes, also the file."""


def score_by_judge(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one answer by the judge's verdict. Never raises: a failed call is counted."""
    answer = strip_reasoning(text)
    ruling = PROTOCOL.rule_on(doc, answer)
    verdict = None if ruling.verdict is None else float(ruling.verdict)
    record = {**_identity(doc), "credit": verdict, **PROTOCOL.record(ruling)}
    scored = None if verdict is None else {**_identity(doc), "score": verdict}
    return {
        "mme_cc_judge_score": verdict,
        "mme_cc_judge_acc": scored,
        "mme_cc_judge_overall": record,
        "mme_cc_judge_overall_rounded": record,
        **_by_part(doc, "mme_cc_judge", record),
        "mme_cc_judge_failed": record,
        "mme_cc_judge_tasks": record,
        "mme_cc_judge_model": record,
        "mme_cc_judge_rule_agreement": _agreement(doc, text, verdict),
        "mme_cc_judge_answered_rate": float(bool(answer)),
    }


def score_by_rules(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one answer by the rule of its task: right, wrong, or undecided."""
    decision = decide(doc, text)
    right, wrong = float(decision is True), float(decision is False)
    record = {
        **_identity(doc),
        "lower": right,
        "upper": 1 - wrong,
        "coverage": right + wrong,
        "decision": {True: "right", False: "wrong", None: "undecided"}[decision],
    }
    return {
        "mme_cc_rule_lower_score": right,
        "mme_cc_rule_lower_acc": {**_identity(doc), "score": right},
        "mme_cc_rule_lower": record,
        "mme_cc_rule_upper": record,
        "mme_cc_rule_coverage": record,
        **_by_part(doc, "mme_cc_rule_lower", record),
        **_by_part(doc, "mme_cc_rule_upper", record),
        "mme_cc_rule_tasks": record,
        "mme_cc_rule_answered_rate": float(bool(strip_reasoning(text))),
    }


def _agreement(doc: Mapping[str, Any], text: str, verdict: float | None) -> float | None:
    """Whether the judge said what the rule of the task proves; None if either is silent."""
    decision = decide(doc, text)
    return None if decision is None or verdict is None else float(decision == bool(verdict))


def _identity(doc: Mapping[str, Any]) -> Values:
    return {
        "id": doc["id"],
        "task": doc["task"],
        "category": doc["category"],
        "subtask": doc["subtask"],
        "stratum": doc["task"],
    }


def _by_part(doc: Mapping[str, Any], name: str, record: Values) -> Values:
    """The record under the metrics of its own category, task and file, None under the others."""
    mine = {doc["task"], doc["subtask"]}
    values: Values = {
        f"{name}_{category}": record if category == category_of(task_of(doc["subtask"])) else None
        for category in CATEGORIES
    }
    return values | {
        f"{name}_{part}": record if task in mine else None for part, task in PARTS.items()
    }

"""Scores of single answers and what becomes of them, the same functions for both harnesses.

Source of the official metrics: repository pritamqu/VCRBench, ``metrics.py`` (commit 5d616a39);
arXiv 2505.08455. They are in percent and rounded as there; all of ours are shares.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from lmms_causal.tasks.aggregates import mean
from lmms_causal.tasks.vcrbench_causal.orders import parse_official, parse_order

__all__ = [
    "CLIPS",
    "adjacent_pairs",
    "kendall_tau",
    "macro_over_goals",
    "official_scores",
    "official_step",
    "official_total",
    "official_weighted",
    "pooled",
    "score_answer",
    "score_renamed",
]

CLIPS = (3, 4, 5, 6, 7)
"""Numbers of clips that the release has."""

Records = Iterable[Mapping[str, Any] | None]


def kendall_tau(order: Sequence[int], right: Sequence[int]) -> float:
    """Kendall's tau of two orders of the same clips: (agreeing - opposed) / all pairs of clips.

    >>> kendall_tau([1, 2, 3], [3, 2, 1])
    -1.0
    """
    place = {clip: position for position, clip in enumerate(order)}
    ranks = [place[clip] for clip in right]
    pairs = [1 if ranks[i] < ranks[j] else -1 for j in range(1, len(ranks)) for i in range(j)]
    return sum(pairs) / len(pairs)


def adjacent_pairs(order: Sequence[int], right: Sequence[int]) -> float:
    """Share of the neighbours in the right order that are neighbours in ``order``, in that order.

    >>> adjacent_pairs([3, 1, 2], [1, 2, 3])
    0.5
    """
    neighbours = set(pairwise(order))
    wanted = list(pairwise(right))
    return sum(pair in neighbours for pair in wanted) / len(wanted)


def score_answer(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of an answer in the numbers of the titles."""
    values = _strict(doc, text)
    right, order = tuple(doc["order"]), parse_official(text, len(doc["order"]))
    steps = [int(hit) for hit in _hits(order, right)]
    official = {"goal": doc["goal"], "exact": int(order == right), "steps": steps}
    values["vcrbench_official_acc"] = official
    values["vcrbench_official_step_acc"] = official
    values["vcrbench_official_weighted_acc"] = official
    return values


def score_renamed(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of an answer in other numbers, with whether it kept to those of the titles."""
    values = _strict(doc, text)
    order = parse_order(text, len(doc["order"]))
    values["titles_kept_rate"] = None if order is None else float(order == tuple(doc["titles"]))
    return values


def _strict(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    right = tuple(doc["order"])
    order = parse_order(text, len(right))
    score = float(order == right)
    values: dict[str, Any] = {
        "vcrbench_score": score,
        "vcrbench_acc": {
            "id": doc["id"],
            "pair_id": doc["pair_id"],
            "score": score,
            "valid": order is not None,
            "pred": None if order is None else ", ".join(map(str, order)),
            "stratum": doc["goal"],
        },
        "vcrbench_step_acc": {
            "right": sum(_hits(order, right)),
            "clips": len(right),
        },
        "vcrbench_goal_acc": {"goal": doc["goal"], "credit": score},
    }
    for count in CLIPS:
        values[f"vcrbench_acc_{count}_clips"] = score if count == len(right) else None
    tau = None if order is None else kendall_tau(order, right)
    values["vcrbench_pair_acc"] = 0.0 if tau is None else (1 + tau) / 2
    values["vcrbench_adjacent_acc"] = 0.0 if order is None else adjacent_pairs(order, right)
    values["vcrbench_kendall_tau"] = tau
    values["vcrbench_invalid_rate"] = float(order is None)
    values["natural_order_rate"] = None if order is None else float(order == tuple(sorted(order)))
    return values


def _hits(order: Sequence[int] | None, right: Sequence[int]) -> list[bool]:
    """Whether each place holds the right clip; none does if there is no order."""
    given = [0] * len(right) if order is None else order
    return [clip == wanted for clip, wanted in zip(given, right, strict=True)]


def pooled(records: Records) -> float:
    """Right places over all places of all videos, so that long videos weigh more."""
    present = [record for record in records if record is not None]
    clips = sum(record["clips"] for record in present)
    return sum(record["right"] for record in present) / clips if clips else float("nan")


def macro_over_goals(records: Records) -> float:
    """Mean over goals of the mean credit of each."""
    return mean(mean(credits) for credits in _by_goal(records, "credit").values())


def official_scores(records: Records) -> dict[str, Any]:
    """All values of the authors' ``metrics.py``, in percent and rounded as there.

    Args:
        records: mappings with ``goal``, ``exact`` (0 or 1) and ``steps`` (0 or 1 for each clip).

    Returns:
        ``avg_accuracy``, ``avg_step_accuracy``, ``scores_per_class`` (by goal),
        ``weighted_avg_accuracy``, which is the plain mean of the rounded values of the goals
        in spite of its name, and ``scores_per_step``: exact match by number of clips.
    """
    present = [record for record in records if record is not None]
    classes = {goal: _percent(exact) for goal, exact in _by_goal(present, "exact").items()}
    lengths: dict[int, list[int]] = defaultdict(list)
    for record in present:
        lengths[len(record["steps"])].append(record["exact"])
    return {
        "avg_accuracy": _percent([record["exact"] for record in present]),
        "avg_step_accuracy": _percent([step for record in present for step in record["steps"]]),
        "scores_per_class": classes,
        "weighted_avg_accuracy": round(mean(classes.values()), 2),
        "scores_per_step": {count: _percent(lengths[count]) for count in sorted(lengths)},
    }


def official_total(records: Records) -> float:
    """``avg_accuracy`` of `official_scores`."""
    return float(official_scores(records)["avg_accuracy"])


def official_step(records: Records) -> float:
    """``avg_step_accuracy`` of `official_scores`."""
    return float(official_scores(records)["avg_step_accuracy"])


def official_weighted(records: Records) -> float:
    """``weighted_avg_accuracy`` of `official_scores`."""
    return float(official_scores(records)["weighted_avg_accuracy"])


def _percent(values: Sequence[float]) -> float:
    return round(100 * mean(values), 2)


def _by_goal(records: Records, key: str) -> dict[str, list[float]]:
    goals: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record is not None:
            goals[record["goal"]].append(record[key])
    return goals

"""Scores of single walls, the same functions for both harnesses.

Source of the official metrics: repository TaatiTeam/OCW, ``src/ocw/evaluate_only_connect.py``;
arXiv 2306.11167.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmms_causal.tasks.ocw import walls

__all__ = ["labels", "score_connections", "score_grouping", "total", "wasserstein"]

GOLD = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


def score_grouping(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of a wall that was to be divided."""
    gold = [sorted(walls.plain_form(word) for word in group) for group in doc["groups"]]
    stated = walls.parse_groups(text, doc["words"])
    right = sum(group in gold for group in stated or ())
    return {
        "ocw_score": right / 4,
        "ocw_acc": _record(
            doc, right / 4, None if stated is None else " / ".join(map(str, stated))
        ),
        "ocw_wall_acc": float(right == 4),
        "ocw_invalid_rate": float(stated is None),
        **_official(doc["groups"], walls.parse_groups_official(text)),
    }


def score_connections(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of a wall whose groups were to be explained."""
    stated = walls.parse_connections(text)
    wanted = [walls.normal_form(connection) for connection in doc["connections"]]
    given = [""] * 4 if stated is None else [walls.normal_form(said) for said in stated]
    score = sum(a == b for a, b in zip(given, wanted, strict=True)) / 4
    gold = [connection.lower().strip() for connection in doc["connections"]]
    said = [text.lower().strip() for text in walls.parse_connections_official(text)]
    pairs = list(zip(said, gold, strict=True))
    return {
        "ocw_score": score,
        "ocw_acc": _record(doc, score, None if stated is None else " / ".join(stated)),
        "ocw_invalid_rate": float(stated is None),
        "ocw_official_conn_em": sum(a == b for a, b in pairs) / 4,
        "ocw_official_conn_rouge1": sum(_rouge1(a, b) for a, b in pairs) / 4,
    }


def labels(groups: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> list[int]:
    """For each word the gold group it is in, or a label of its own from 4 on."""
    known = {word: number for number, group in enumerate(gold) for word in group}
    fresh = iter(range(4, 20))
    return [known[word] if word in known else next(fresh) for group in groups for word in group]


def wasserstein(predicted: Sequence[int], gold: Sequence[int]) -> float:
    """The paper's distance of two divisions, from 0 to 1: lower is better.

    Blocks of four labels that both have are taken away, the others paired in their order; each pair
    adds a quarter of its one-dimensional Wasserstein distance, at most of 1. The order of wrong
    groups matters, and so do the numbers of the labels, which mean nothing.
    """
    from scipy.stats import wasserstein_distance

    one = [list(predicted[start : start + 4]) for start in range(0, 16, 4)]
    other = [list(gold[start : start + 4]) for start in range(0, 16, 4)]
    for block in list(one):
        if block in other:
            one.remove(block)
            other.remove(block)
    pairs = zip(one, other, strict=True)
    return sum(min(float(wasserstein_distance(a, b)), 1.0) for a, b in pairs) / 4


def total(values: Iterable[float]) -> float:
    """Sum over walls: the paper counts groups and walls."""
    return float(sum(values))


def _official(groups: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> dict[str, float]:
    from sklearn.metrics import (
        adjusted_mutual_info_score,
        adjusted_rand_score,
        fowlkes_mallows_score,
    )

    gold = [sorted(word.lower().strip() for word in group) for group in groups]
    predicted = [sorted(word.lower().strip() for word in group) for group in given]
    found = labels(predicted, gold)
    right = sum(group in predicted for group in gold)
    return {
        "ocw_official_wd": wasserstein(found, GOLD),
        "ocw_official_ami": float(adjusted_mutual_info_score(GOLD, found)),
        "ocw_official_ari": float(adjusted_rand_score(GOLD, found)),
        "ocw_official_fms": float(fowlkes_mallows_score(GOLD, found)),
        "ocw_official_correct_groups": right,
        "ocw_official_solved_walls": int(right == 4),
        "ocw_official_group_acc": right / 4,
        "ocw_official_wall_acc": float(right == 4),
    }


def _rouge1(said: str, gold: str) -> float:
    from rouge_score.rouge_scorer import RougeScorer

    return float(RougeScorer(["rouge1"]).score(gold, said)["rouge1"].fmeasure)


def _record(doc: Mapping[str, Any], score: float, stated: str | None) -> dict[str, Any]:
    return {
        "id": doc["id"],
        "pair_id": doc["pair_id"],
        "score": score,
        "valid": stated is not None,
        "pred": stated,
        "stratum": "walls",
    }

"""The six indicators of VLind-Bench, by the authors' parser and by a strict one.

Let a, b and c be 1 for an instance that passes common sense, perception and commonsense bias (both
questions right), and D the share of its good pictures whose two language-prior questions are both
right. Over instances:

    S_CK = mean a     S_VP = mean b     S_CB = sum(a c) / sum(a)
    S_LP = sum(a b c D) / sum(a b c)    CB = mean c     LP = mean D

Source: repository klee972/VLind-Bench, ``eval/score_pipeline.py``; arXiv 2406.08702.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lmms_causal.tasks.aggregates import mean
from lmms_causal.tasks.yes_no import commit_to_true_or_false

__all__ = ["INDICATORS", "authors_prediction", "cb", "lp", "s_cb", "s_ck", "s_lp", "s_vp", "score"]

Records = Iterable[Mapping[str, Any] | None]

INDICATORS = ("s_ck", "s_vp", "s_cb", "s_lp", "cb", "lp")


def authors_prediction(text: str) -> str | None:
    """The first word that is "true" or "false" after lower-casing, without commas and full stops.

    >>> authors_prediction("False, true")
    'false'
    """
    words = text.lower().replace("\n", " ").replace(",", "").replace(".", "").split(" ")
    return next((word for word in words if word in ("true", "false")), None)


def score(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one generated answer."""
    pred = commit_to_true_or_false(text)
    credit = float(pred == doc["answer"])
    record = {
        "id": doc["id"],
        "image_id": doc["image_id"],
        "pair_id": doc["pair_id"],
        "score": credit,
        "stratum": doc["stratum"],
        "valid": pred is not None,
        "pred": pred,
    }
    shared = {name: doc[name] for name in ("instance", "stage", "good")} | {"pair": doc["pair_id"]}
    view = {**shared, "credit": float(authors_prediction(text) == doc["answer"])}
    strict = {**shared, "credit": credit}
    values: dict[str, Any] = {"vlind_strict_score": credit, "vlind_strict_acc": record}
    values |= {f"vlind_{name}": view for name in INDICATORS}
    values |= {f"vlind_strict_{name}": strict for name in INDICATORS}
    values["vlind_invalid_rate"] = float(pred is None)
    return values


@dataclass(frozen=True)
class _Passed:
    """What one instance passes: common sense, perception, bias (0 or 1), language prior (share)."""

    ck: float
    vp: float
    cb: float
    lp: float


def s_ck(records: Records) -> float:
    """Share of instances that pass common sense."""
    return mean(passed.ck for passed in _instances(records))


def s_vp(records: Records) -> float:
    """Share of instances that pass perception."""
    return mean(passed.vp for passed in _instances(records))


def s_cb(records: Records) -> float:
    """Of the instances that pass common sense, the share that passes commonsense bias; else 0."""
    instances = _instances(records)
    return _conditional([(passed.ck, passed.cb) for passed in instances])


def s_lp(records: Records) -> float:
    """Mean language prior over the instances that pass the three other stages; 0 without any."""
    instances = _instances(records)
    return _conditional([(passed.ck * passed.vp * passed.cb, passed.lp) for passed in instances])


def cb(records: Records) -> float:
    """Share of instances that pass commonsense bias."""
    return mean(passed.cb for passed in _instances(records))


def lp(records: Records) -> float:
    """Mean language prior."""
    return mean(passed.lp for passed in _instances(records))


def _conditional(pairs: list[tuple[float, float]]) -> float:
    """Mean of the second over pairs whose first is 1; as the authors, 0 if there is none."""
    if not pairs:
        return float("nan")
    chosen = [second for first, second in pairs if first]
    return mean(chosen) if chosen else 0.0


def _instances(records: Records) -> list[_Passed]:
    """The complete instances; a run limited to some documents leaves others out."""
    asked: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    good: dict[str, int] = {}
    for record in records:
        if record is not None:
            asked[record["instance"]][record["stage"]][record["pair"]].append(record["credit"])
            good[record["instance"]] = record["good"]
    found = []
    for instance, stages in asked.items():
        # pairs of True and False questions by stage, 1 where both are right
        passed = {
            stage: [min(credits) for credits in pairs.values() if len(credits) == 2]
            for stage, pairs in stages.items()
        }
        counts = [len(passed.get(stage, [])) for stage in ("ck", "vp", "cb", "lp")]
        if counts == [1, 1, 1, good[instance]]:
            found.append(
                _Passed(passed["ck"][0], passed["vp"][0], passed["cb"][0], mean(passed["lp"]))
            )
    return found

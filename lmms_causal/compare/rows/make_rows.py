"""Rows from numbers: counts of documents, the interval with its test, or both aggregates alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from lmms_causal.compare.inference import statistics
from lmms_causal.compare.records import Task
from lmms_causal.compare.rows.margins import against_margin
from lmms_causal.compare.rows.row import Options, Row
from lmms_causal.compare.rows.scale import Scale

_NAN = float("nan")


def counts(a: Sequence[float], b: Sequence[float], binary: bool) -> dict[str, Any]:
    """How the scores of A and B agree, by fields of `Row`."""
    pairs = list(zip(a, b, strict=True))
    return {
        "gained": sum(right > left for left, right in pairs),
        "lost": sum(right < left for left, right in pairs),
        "agreement": sum(left == right for left, right in pairs) / len(pairs),
        "both_right": pairs.count((1.0, 1.0)) if binary else None,
        "both_wrong": pairs.count((0.0, 0.0)) if binary else None,
    }


def with_test(
    row: Row, interval: statistics.Interval, p: float, test: str, options: Options
) -> Row:
    """Add the interval and the tests, or say why there are none.

    An interval around few units may reach beyond every possible difference: it is cut there.
    """
    if interval.units < 2:
        return dataclasses.replace(row, note="too few independent documents to test")
    if not math.isfinite(interval.low + interval.high):
        return dataclasses.replace(row, note="no test: undefined on some of the resampled data")
    most = math.inf if row.largest is None else row.largest
    if statistics.too_few_units(interval.units, options.level) and not row.note:
        row = dataclasses.replace(
            row, note=f"{interval.units} independent units are too few for any difference to show"
        )
    margin = options.margin
    return dataclasses.replace(
        row,
        standard_error=interval.standard_error,
        low=max(interval.low, -most),
        high=min(interval.high, most),
        interval=interval.method,
        p=p,
        test=test,
        equivalence=None if margin is None else against_margin(row, interval, margin),
    )


def aggregate_only(
    a: Task,
    b: Task,
    metric: str,
    name: str,
    note: str,
    scale: Scale,
    n: int = 0,
    left_out: bool = False,
) -> Row:
    """Both reported aggregates of a metric that cannot be tested.

    Args:
        a: The task in A.
        b: The task in B.
        metric: Metric name.
        name: Answer filter.
        note: Why it is not tested.
        scale: The metric's unit.
        n: Number of paired documents.
        left_out: Whether the runs answered other documents too, which the aggregates count: then
            there is nothing to show.
    """
    left, right = (task.aggregates[metric, name] / scale.reported for task in (a, b))
    if left_out:
        left = right = _NAN
        note += "; its aggregates are over all documents of each run, so not shown"
    return Row(
        task=a.name,
        metric=metric,
        filter=name,
        stratum=None,
        n=n,
        units=0,
        cluster_key=None,
        factor=scale.factor,
        higher_is_better=a.higher_is_better.get(metric),
        a=left,
        b=right,
        difference=right - left,
        note=note,
        largest=scale.largest,
    )

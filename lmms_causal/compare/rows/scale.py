"""In which unit a metric is shown, decided once for all runs and all parts of a report.

Shares are shown in per cent and their differences in points. Neither harness says which metrics
are shares, so that the numbers must tell: all within -1 and 1. A few documents, a stratum or one
of the runs would tell otherwise now and then, hence all of them are asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from lmms_causal.compare.inference.effort import is_interval_end
from lmms_causal.compare.reading import aggregations
from lmms_causal.compare.records import Run, Task, score

#: Every how many documents make a part on which an aggregation is asked for its values.
_STEPS = (2, 3, 5)
#: How many times with the answers to random documents turned from right to wrong and back.
_TURNS = 8


@dataclass(frozen=True)
class Scale:
    """The unit of a metric.

    Attributes:
        factor: 100 for shares, to be shown in points, else 1.
        largest: Largest difference that is possible between two runs: 1 for shares, 2 for shares
            with a sign; None where scores have no known bound.
        reported: What the harness's aggregates must be divided by to be in the unit of the scores:
            100 where shares are averaged in per cent, else 1.
    """

    factor: float
    largest: float | None
    reported: float


class Scales:
    """The units of all metrics of some runs, found when asked for."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self.of = cache(self._of)

    def _of(self, task: str, metric: str) -> Scale:
        return metric_scale([run.tasks[task] for run in self._runs if task in run.tasks], metric)


def metric_scale(tasks: Sequence[Task], metric: str) -> Scale:
    """The unit of a metric of one task.

    Args:
        tasks: The task in every run of the report.
        metric: Metric name.
    """
    low, high = _span(
        score(sample.metrics.get(metric), str(task.config.get("score_key") or "score"))
        for task in tasks
        for samples in task.samples.values()
        for sample in samples
    )
    aggregates = [
        (task, name, value)
        for task in tasks
        for (found, name), value in task.aggregates.items()
        if found == metric
    ]
    reported = 1.0
    bottom, top = _span(value for _, _, value in aggregates)
    if max(-bottom, top) > 1.0 and any(
        aggregations.mean_scale(task, metric, name) == 100.0
        for task, name, _ in aggregates
        if name in task.samples
    ):
        reported = 100.0
    elif max(-bottom, top, -low, high) <= 1.0:
        bottom, top = _span([bottom, top, *_asked(tasks, metric)])
    low, high = min(low, bottom / reported), max(high, top / reported)
    if not max(-low, high) <= 1.0 + 1e-9:
        return Scale(1.0, None, 1.0)
    return Scale(100.0, 1.0 if low >= 0.0 else 2.0, reported)


def _asked(tasks: Sequence[Task], metric: str) -> list[float]:
    """Values of the installed aggregation on parts of the documents and on other answers to them.

    A gap in points may be below one over all documents, or 0 where none is answered right, but not
    on each part of them and not had other documents been answered right.
    """
    found = []
    for task in tasks:
        aggregate = aggregations.offered_aggregation(task, metric)
        if aggregate is None or is_interval_end(metric, aggregate):
            continue
        for samples in task.samples.values():
            values = [sample.metrics.get(metric) for sample in samples]
            asked = [values[first::step] for step in _STEPS for first in range(step)]
            generator = np.random.default_rng(0)
            for _ in range(_TURNS):
                turned = generator.integers(2, size=len(values)).tolist()
                asked.append(
                    [_turned(it) if turn else it for turn, it in zip(turned, values, strict=True)]
                )
            for some in asked:
                try:
                    found.append(float(aggregate(some)))
                except (ArithmeticError, LookupError, TypeError, ValueError):
                    continue  # undefined there
    return found


def _turned(record: Any) -> Any:
    """A record with its scores of 0 and 1 exchanged."""
    if isinstance(record, Mapping):
        return {key: _turned(value) for key, value in record.items()}
    return 1.0 - record if type(record) is float and record in (0.0, 1.0) else record


def _span(values: Iterable[float | None]) -> tuple[float, float]:
    """Lowest and highest finite value; (0, 0) without any."""
    low, high = math.inf, -math.inf
    for value in values:
        if value is not None and math.isfinite(value):
            low, high = min(low, value), max(high, value)
    return (low, high) if low <= high else (0.0, 0.0)

"""The runs of one model and intervention on several tasks, as one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from lmms_causal.compare import Run

__all__ = ["joined"]


def joined(runs: Sequence[Run]) -> Run:
    """Return the runs of one model and intervention on several tasks as one run.

    Costs add up; peak memory is the highest, and passes by request are weighted by documents.
    """
    first, *_ = runs
    if len(runs) == 1:
        return first
    costs = [run.cost for run in runs]
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(first.cost):
        values = [getattr(cost, field.name) for cost in costs]
        if field.name == "from_cache":
            changes[field.name] = any(values)
        elif any(value is None for value in values):
            changes[field.name] = None
        elif field.name.startswith("peak_"):
            changes[field.name] = max(values)
        elif field.name.endswith("_per_request"):
            weights = [_documents(run) for run in runs]
            total = sum(v * w for v, w in zip(values, weights, strict=True))
            changes[field.name] = total / sum(weights) if sum(weights) else None
        elif not field.name.endswith("_per_second"):
            changes[field.name] = sum(values)
    cost = dataclasses.replace(first.cost, **changes)
    if cost.generated_tokens is not None and cost.generation_seconds:
        rate = cost.generated_tokens / cost.generation_seconds
        cost = dataclasses.replace(cost, tokens_per_second=rate)
    tasks = {name: task for run in runs for name, task in run.tasks.items()}
    return dataclasses.replace(first, tasks=tasks, cost=cost)


def _documents(run: Run) -> int:
    return sum(
        max(map(len, task.samples.values()), default=0)
        for task in run.tasks.values()
        if not task.is_group
    )

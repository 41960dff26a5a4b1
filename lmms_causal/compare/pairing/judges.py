"""Who judged the answers of a task: two judges are two instruments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmms_causal.compare.records import Task


def judge_of(task: Task) -> str | None:
    """Judges of a task in one line: model, prompt, and the name the server gave; None without any.

    Our judged metrics record a ``judge`` for every document; where it was reached does not matter.
    """
    found = {
        _named(value["judge"])
        for samples in task.samples.values()
        for sample in samples
        for value in sample.metrics.values()
        if isinstance(value, Mapping) and isinstance(value.get("judge"), Mapping)
    }
    # Documents without a verdict, or an empty answer, name nobody beside those of the rest.
    return "; ".join(sorted(found - {"nobody"}) or sorted(found)) or None


def _named(judge: Mapping[str, Any]) -> str:
    if "model" not in judge:
        return "nobody"
    served = judge.get("served")
    text = f"{judge['model']}, prompt {judge.get('prompt')}"
    return f"{text}, served as {served}" if served else text

"""The comparison as JSON-ready data; docs/compare.md is its description."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.output.verdict import outcome, verdict
from lmms_causal.compare.pairing.documents import documents as all_documents
from lmms_causal.compare.records import Run

#: Raised by one whenever a field of the JSON output changes its meaning or goes away.
SCHEMA_VERSION = 3


def to_json(comparisons: Sequence[Comparison], documents: bool = False) -> dict[str, Any]:
    """Unrounded numbers, null where something is unknown; strict JSON.

    Args:
        comparisons: What `compare` returned.
        documents: Whether to add every compared document.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "comparisons": [_strict(_one(comparison, documents)) for comparison in comparisons],
    }


def _one(comparison: Comparison, documents: bool) -> dict[str, Any]:
    level = comparison.options.level
    fields: dict[str, Any] = {
        "a": _run(comparison.a),
        "b": _run(comparison.b),
        "options": dataclasses.asdict(comparison.options),
        "rows": [
            dataclasses.asdict(row) | {"outcome": outcome(row, level)} for row in comparison.rows
        ],
        "checks": [vars(check) for check in comparison.checks],
        "differences": [vars(found) for found in comparison.differences],
        "costs": [vars(cost) for cost in comparison.costs],
        "flips": [vars(flip) for flip in comparison.flips],
        "notes": list(comparison.notes),
        "verdict": verdict(comparison),
    }
    if documents:
        fields["documents"] = [vars(pair) for pair in all_documents(comparison)]
    return fields


def _run(run: Run) -> dict[str, Any]:
    fields = dataclasses.asdict(dataclasses.replace(run, tasks={}))
    fields["tasks"] = {name: task.version for name, task in run.tasks.items()}
    return fields


def _strict(value: Any) -> Any:
    """Make data strict JSON: NaN and infinity become null, paths text."""
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value

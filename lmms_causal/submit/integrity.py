"""What must not be submitted: parts of a benchmark, and runs whose files disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmms_causal.compare.reading.integrity import require_consistent
from lmms_causal.compare.records import Run, number
from lmms_causal.errors import UserError

__all__ = ["require_integrity"]


def require_integrity(run: Run, data: Mapping[str, Any]) -> None:
    """Refuse a run whose numbers are not those of whole tasks under known interventions.

    Args:
        run: as read for comparison.
        data: the results file.

    Raises:
        UserError: documents were left out, or what `require_consistent` refuses.
    """
    _require_whole(run, data)
    require_consistent(run, data)


def _require_whole(run: Run, data: Mapping[str, Any]) -> None:
    config = data["config"]
    for key in ("limit", "offset", "samples"):
        if config.get(key):
            raise UserError(
                f"{run.path}: evaluated with {key}={config[key]}: a number of some documents is no "
                "number of the benchmark; evaluate all of them"
            )
    for name, counts in (data.get("n-samples") or {}).items():
        if not isinstance(counts, Mapping):
            continue  # `require_consistent` says so
        original, done = number(counts.get("original")), number(counts.get("effective"))
        if original is not None and done is not None and done < original:
            raise UserError(
                f"{run.path}: {done:g} of {original:g} documents of {name} were evaluated; "
                "evaluate all of them"
            )

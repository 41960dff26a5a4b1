"""What answers cost, chunk by chunk, and the sum over attempts and ranks in the results file.

A harness counts what its last process did. The journal keeps the cost of every chunk, so that the
results of a cell that was interrupted, or evaluated by several ranks, say what all of it cost.
Seconds are added up over ranks: they are those of devices.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

__all__ = ["Costs", "total"]

_AVERAGES = ("avg_speed",)


class Costs:
    """Reads the cost of each chunk from the harness's counters, and puts the sum back.

    ``harness`` is ``lmms-eval``, whose models report to its throughput metrics, or ``lm-eval``,
    where ours count themselves (``cost_summary``).
    """

    def __init__(self, harness: str) -> None:
        self.harness = harness
        self._seen: dict[str, float] = {}
        self._reported = 0

    def of_chunk(self, lm: Any) -> dict[str, float] | None:
        """Return what was counted since the last call; None where nothing is."""
        if self.harness == "lm-eval":
            if not hasattr(type(lm), "cost_summary"):
                return None
            now = dict(lm.cost_summary())
            new = {
                name: value if _is_peak(name) else value - self._seen.get(name, 0)
                for name, value in now.items()
            }
            self._seen = now
            return new
        from lmms_eval.models.model_utils.gen_metrics import get_logged_metrics_history

        history = get_logged_metrics_history()
        new_reports, self._reported = history[self._reported :], len(history)
        return total(new_reports) or None

    def restore(self, lm: Any, costs: Sequence[dict[str, float]]) -> None:
        """Let the results file tell the sum of these costs."""
        summed = total(costs)
        if not summed:
            return
        if self.harness == "lm-eval":
            if hasattr(type(lm), "cost_summary"):
                lm.cost_summary = functools.partial(dict, summed)
            return
        from lmms_eval.models.model_utils.gen_metrics import log_metrics, reset_logged_metrics

        reset_logged_metrics()
        seconds = summed.pop("total_elapsed_time", 0.0)
        tokens = summed.pop("total_gen_tokens", 0)
        log_metrics(seconds, int(tokens), tokens / seconds if seconds else 0.0, summed)


def total(costs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Add costs up; peaks are the highest, and ratios by request are formed anew."""
    summed: dict[str, float] = {}
    for cost in costs:
        for name, value in cost.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if name in _AVERAGES or name.endswith("_per_request"):
                continue
            before = summed.get(name, 0)
            summed[name] = max(before, value) if _is_peak(name) else before + value
    if summed.get("requests") and "forward_passes" in summed and "total_elapsed_time" in summed:
        summed["forward_passes_per_request"] = summed["forward_passes"] / summed["requests"]
    return summed


def _is_peak(name: str) -> bool:
    return name.startswith("peak_")

"""Processor time of calls, taken in turn, so that a machine whose speed drifts disturbs all alike.

On one thread the time is the processor's, in which other work on the machine does not count. On
several it is the wall's: the processor's would be the sum over threads.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

__all__ = ["clock", "in_turn", "median_ratio", "timed"]

_LEAST = 5e-3  # seconds of calls timed together, far above what reading a clock takes
_MOST = 200  # calls timed together


def clock() -> Callable[[], float]:
    """The clock for the threads torch has now."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def timed(run: Callable[[], object], calls: int = 1) -> float:
    """Seconds of a call, averaged over some in a row."""
    now = clock()
    start = now()
    for _ in range(calls):
        run()
    return max(now() - start, 1e-9) / calls


def in_turn(
    runs: Mapping[str, Callable[[], object]], repeats: int = 7, budget: float = 10.0
) -> dict[str, list[float]]:
    """Time each run in each of some turns.

    Args:
        runs: by name; all have run once before.
        repeats: turns.
        budget: wall seconds after which no turn begins; three are made in any case.

    Returns:
        Seconds of a call, by name, a number for each turn.
    """
    calls = {}
    for name, run in runs.items():
        once = timed(run)
        calls[name] = min(_MOST, max(1, round(_LEAST / once)))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + budget
    for turn in range(repeats):
        if turn >= min(3, repeats) and time.perf_counter() > end:
            break
        for name, run in runs.items():
            taken[name].append(timed(run, calls[name]))
    return taken


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios taken turn by turn."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))

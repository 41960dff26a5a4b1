"""Whether a metric can be evaluated thousands of times, as resampling must."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_INTERVAL_ENDS = ("_ci_low", "_ci_high", "_ci_lower", "_ci_upper")
#: Function calls spent on one row; 100,000 documents of a plain aggregation take half of them.
_BUDGET = 2_000_000_000
#: Evaluations for each resample: A and B, in the interval and in the test.
_EVALUATIONS = 4


@dataclass(frozen=True)
class Effort:
    """What one evaluation over all documents takes; the same on every machine.

    Attributes:
        calls: Functions called, built-in ones included.
        draws: Whether it draws random numbers, that is resamples by itself.
    """

    calls: int
    draws: bool

    @property
    def most_resamples(self) -> int:
        """Resamples that keep the work for one row in bounds."""
        return _BUDGET // (_EVALUATIONS * max(1, self.calls))


def is_interval_end(metric: str, aggregate: Callable[..., float] | None = None) -> bool:
    """Whether the name of a metric, or of its aggregation, is that of an end of an interval.

    Such a number is no score of a run: it moves with the number of documents, and each evaluation
    is a resampling of its own.
    """
    names = (metric, getattr(aggregate, "__name__", ""))
    return any(name.endswith(_INTERVAL_ENDS) for name in names)


def measure(aggregate: Callable[[list[Any]], float], values: Sequence[Any]) -> Effort:
    """Evaluate once and count. What the aggregation raises is not caught."""
    calls = 0
    draws = False
    before, drawing = sys.getprofile(), np.random.default_rng

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def noticed(*arguments: Any, **named: Any) -> np.random.Generator:
        nonlocal draws
        draws = True
        return drawing(*arguments, **named)

    np.random.default_rng = noticed  # type: ignore[assignment]
    sys.setprofile(count)
    try:
        aggregate(list(values))
    finally:
        sys.setprofile(before)
        np.random.default_rng = drawing
    return Effort(calls, draws)

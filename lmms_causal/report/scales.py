"""Axes: round numbers on them, and where a value lies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Scale", "linear", "symmetric"]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
#: Numbers from here on are not drawn: what is computed from them would be beyond float64.
_DRAWN = 1e300


@dataclass(frozen=True)
class Scale:
    """A linear axis.

    Attributes:
        low: Its lower end, in the data's unit.
        high: Its upper end.
        ticks: Round values on it.
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where `value` lies, from 0 at the lower end to 1 at the upper; outside is cut off."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def tick_text(self, tick: float, sign: bool = False) -> str:
        """A tick's label with as many decimals as the axis needs, and a true minus sign."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else abs(tick) or 1.0
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        if decimals and round(step, decimals) != round(step, 9):  # steps such as 2.5
            decimals += 1
        if step >= 1 and step != round(step):
            decimals = 1
        text = f"{tick:{'+' if sign and tick else ''},.{decimals}f}"
        return text.replace("-", "−")


def linear(values: Iterable[float], count: int = 5, floor: float | None = None) -> Scale:
    """An axis that holds finite `values`, with about `count` ticks and a little air.

    Args:
        values: What it must hold; none at all gives 0 to 1.
        count: Wanted number of ticks.
        floor: A value below which the axis never goes, such as 0 for times.
    """
    finite = [value for value in values if abs(value) < _DRAWN] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - air, high + air
    if floor is not None:
        low = max(low, floor)
    step = _step((high - low) / count)
    return Scale(low, high, _ticks(low, high, step))


def symmetric(values: Iterable[float], count: int = 4) -> Scale:
    """An axis with 0 in its middle that holds finite `values` and ends on ticks."""
    reach = max((abs(value) for value in values if abs(value) < _DRAWN), default=0.0) or 1.0
    step = _step(2 * reach / count)
    end = max(reach, step * math.ceil(reach / step - 1e-9))  # rounding must not cut a value off
    return Scale(-end, end, _ticks(-end, end, step))


def _step(rough: float) -> float:
    """The next round number that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


def _ticks(low: float, high: float, step: float) -> tuple[float, ...]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))

"""The plausibility gap: accuracy on plausible minus accuracy on implausible sentences, in points.

The 6(k+1) answers on one sentence of level k are far from independent, so intervals come from
resampling sentences. The two subsets are resampled independently: sentences of one number are
alike in shape only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmms_causal.tasks.centerbench.data import SUBSETS

__all__ = [
    "DRAWS",
    "SEED",
    "Curve",
    "Interval",
    "gap",
    "gap_ci_high",
    "gap_ci_low",
    "gap_curve",
    "gap_macro",
    "gap_median",
    "gap_slope",
]

DRAWS = 10_000
SEED = 1234

Records = Iterable[Mapping[str, Any] | None]
Cells = dict[tuple[str, int], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A value with the 2.5 and 97.5 percentiles of its bootstrap draws; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """The gap in points against complexity.

    Attributes:
        levels: the levels that both subsets have answers on.
        accuracy: plausible and implausible accuracy at each level, 0 to 1.
        gaps: the gap at each level.
        overall: over all answers, levels weighted by their numbers of answers.
        macro: mean over levels.
        median: median over levels (ours; how the paper takes its median could not be checked).
        slope: least-squares slope of the gap on the level, points per level.
    """

    levels: tuple[int, ...]
    accuracy: tuple[tuple[float, float], ...]
    gaps: tuple[Interval, ...]
    overall: Interval
    macro: Interval
    median: Interval
    slope: Interval


def gap(records: Records) -> float:
    """Plausible minus implausible accuracy over all answers, times 100; NaN without one subset."""
    answers: dict[str, list[float]] = {subset: [] for subset in SUBSETS}
    for record in records:
        if record is not None:
            answers[record["sentence"].partition("/")[0]].append(record["credit"])
    if not all(answers.values()):
        return float("nan")
    first, second = (sum(credits) / len(credits) for credits in answers.values())
    return 100 * (first - second)


def gap_ci_low(records: Records) -> float:
    """The 2.5 percentile of the gap over resampled sentences."""
    return gap_curve(records).overall.low


def gap_ci_high(records: Records) -> float:
    """The 97.5 percentile of the gap over resampled sentences."""
    return gap_curve(records).overall.high


def gap_macro(records: Records) -> float:
    """Mean over levels of the gap within the level."""
    return gap_curve(records, draws=0).macro.value


def gap_median(records: Records) -> float:
    """Median over levels of the gap within the level."""
    return gap_curve(records, draws=0).median.value


def gap_slope(records: Records) -> float:
    """Does the gap widen? Least-squares slope over levels, in points per level."""
    return gap_curve(records, draws=0).slope.value


def gap_curve(records: Records, draws: int = DRAWS, seed: int = SEED) -> Curve:
    """The gap at every level with intervals, from ``sentence`` and ``credit`` of each answer.

    Levels in ascending order, plausible before implausible, draw as many sentences as there are,
    with replacement. One set of draws serves all intervals, so results do not depend on the order
    of the records.

    Args:
        records: ``sentence`` is ``"subset/level/index"``; None is skipped.
        draws: bootstrap draws; 0 for no intervals.
        seed: of ``numpy.random.default_rng``.
    """
    cells = _cells(records)
    levels = sorted({level for _, level in cells})
    levels = [level for level in levels if all((subset, level) in cells for subset in SUBSETS)]
    exact = {key: cells[key].sum(axis=0)[None] for key in cells}  # [1, 2]: credits and answers
    point = _statistics(exact, levels)
    spread = _statistics(_resampled(cells, levels, draws, seed), levels) if draws and levels else {}

    def interval(name: str, column: int = 0) -> Interval:
        value = float(point[name][0, column])
        if name not in spread:
            return Interval(value, float("nan"), float("nan"))
        low, high = np.percentile(spread[name][:, column], [2.5, 97.5])
        return Interval(value, float(low), float(high))

    def rate(subset: str, level: int) -> float:
        credit, count = exact[subset, level][0]
        return float(credit / count)

    return Curve(
        tuple(levels),
        tuple((rate(SUBSETS[0], level), rate(SUBSETS[1], level)) for level in levels),
        tuple(interval("level", column) for column in range(len(levels))),
        *(interval(name) for name in ("overall", "macro", "median", "slope")),
    )


def _cells(records: Records) -> Cells:
    """For each subset and level, sums of credit and of answers of its sentences ``[S, 2]``."""
    sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for record in records:
        if record is not None:
            sums[record["sentence"]][0] += record["credit"]
            sums[record["sentence"]][1] += 1
    grouped: defaultdict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for sentence in sorted(sums):
        subset, level, _ = sentence.split("/")
        grouped[subset, int(level)].append(sums[sentence])
    return {key: np.array(rows) for key, rows in grouped.items()}


def _resampled(cells: Cells, levels: list[int], draws: int, seed: int) -> Cells:
    """The sums ``[draws, 2]`` of each cell over sentences drawn with replacement."""
    generator = np.random.default_rng(seed)
    drawn = {}
    for level in levels:
        for subset in SUBSETS:
            rows = cells[subset, level]
            drawn[subset, level] = rows[generator.integers(len(rows), size=(draws, len(rows)))].sum(
                axis=1
            )
    return drawn


def _statistics(sums: Cells, levels: list[int]) -> dict[str, np.ndarray]:
    """Each statistic, ``[draws, 1]``, or ``[draws, levels]`` for the gap within each level."""
    if not levels:
        return dict.fromkeys(("overall", "macro", "median", "slope"), np.full((1, 1), np.nan))
    first, second = (np.stack([sums[subset, level] for level in levels], 1) for subset in SUBSETS)
    by_level = 100 * (first[..., 0] / first[..., 1] - second[..., 0] / second[..., 1])
    pooled = [cell[..., 0].sum(1) / cell[..., 1].sum(1) for cell in (first, second)]
    centred = np.array(levels) - np.mean(levels)
    scale = (centred**2).sum()
    slope = by_level @ centred / scale if scale else np.full(len(by_level), np.nan)
    columns = {
        "overall": 100 * (pooled[0] - pooled[1]),
        "macro": by_level.mean(axis=1),
        "median": np.median(by_level, axis=1),
        "slope": slope,
    }
    return {"level": by_level, **{name: column[:, None] for name, column in columns.items()}}

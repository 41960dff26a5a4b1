"""Charts of one part of the page: those shown at first, and those to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmms_causal.report.charts import Chart
from lmms_causal.report.drawing import Drawing, draw

__all__ = ["Choice", "Gallery", "gallery"]

#: Points of all charts that wait to be chosen; one takes about 250 characters of the page.
MARK_BUDGET = 10_000


@dataclass(frozen=True)
class Choice:
    """Charts that are looked at together.

    Attributes:
        task: Their task.
        name: What of it they show.
        first: True when they are shown before the reader chooses.
        drawings: The charts.
    """

    task: str
    name: str
    first: bool
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Gallery:
    """What the reader may choose.

    Attributes:
        choices: The choices in their order, those of a task together.
    """

    choices: tuple[Choice, ...]

    @property
    def tasks(self) -> list[str]:
        """Tasks of the choices."""
        return list(dict.fromkeys(choice.task for choice in self.choices))

    @property
    def by_level(self) -> bool:
        """Whether there are curves by level."""
        return any(it.chart.kind == "gap" for choice in self.choices for it in choice.drawings)

    @property
    def first(self) -> list[tuple[int, Drawing]]:
        """(number of its choice, chart) of those shown at first."""
        return [
            (number, drawing)
            for number, choice in enumerate(self.choices)
            if choice.first
            for drawing in choice.drawings
        ]

    @property
    def others(self) -> list[tuple[int, Drawing]]:
        """(number of its choice, chart) of those shown when chosen."""
        return [
            (number, drawing)
            for number, choice in enumerate(self.choices)
            if not choice.first
            for drawing in choice.drawings
        ]


def gallery(charts: Sequence[Chart], budget: int | None = None) -> tuple[Gallery, int]:
    """Group charts by what they show, and draw them; returns how many had to be left out too.

    Charts shown at first are never left out; of the others, as many as `budget` points allow.
    """
    left = MARK_BUDGET if budget is None else budget
    grouped: dict[tuple[str, str], list[Chart]] = {}
    for chart in charts:
        grouped.setdefault((chart.task, chart.choice), []).append(chart)
    choices, dropped = [], 0
    tasks = list(dict.fromkeys(task for task, _ in grouped))
    for (task, name), members in sorted(grouped.items(), key=lambda it: tasks.index(it[0][0])):
        first = any(chart.first for chart in members)
        points = sum(len(series.points) for chart in members for series in chart.series)
        if not first and points > left:
            dropped += len(members)
            continue
        left -= 0 if first else points
        choices.append(Choice(task, name, first, tuple(draw(chart) for chart in members)))
    return Gallery(tuple(choices)), dropped

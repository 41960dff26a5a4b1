"""Places for the labels of points, so that none lies on a point, an interval or another label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Box", "Label", "place_labels"]

_CHARACTER = 8.0  # the width of a bold digit or capital at the size of labels, rounded up
_ABOVE, _BELOW = 9.0, 2.0  # what a label takes above and below its base line
_POINT = 6.0
#: Places beside a point in the order in which they are tried: right of it, above, below, left, then
#: farther away.
_SIDES = (
    (8.0, 4.0, "start"),
    (0.0, -9.0, "middle"),
    (0.0, 17.0, "middle"),
    (-8.0, 4.0, "end"),
    (8.0, 16.0, "start"),
    (8.0, -8.0, "start"),
    (-8.0, -8.0, "end"),
    (-8.0, 16.0, "end"),
    (0.0, -21.0, "middle"),
    (0.0, 29.0, "middle"),
    (0.0, -33.0, "middle"),
    (0.0, 41.0, "middle"),
)


@dataclass(frozen=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two have an area in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True)
class Label:
    """Where a text begins, ends or has its middle, as `anchor` says, on its base line."""

    x: float
    y: float
    anchor: str

    def box(self, text: str) -> Box:
        """The rectangle that `text` takes there."""
        width = _CHARACTER * len(text)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return Box(left, self.y - _ABOVE, left + width, self.y + _BELOW)


def place_labels(
    points: Sequence[tuple[float, float, str]], obstacles: Sequence[Box], frame: Box
) -> list[Label]:
    """Find a place for the label of each point, inside `frame`; to its right where nothing is free.

    Args:
        points: (x, y, text) of the points; those without a text are in the way of the others.
        obstacles: What else must not be covered.
        frame: Where labels may be.
    """
    dots = [Box(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y, _ in points]
    taken = [*dots, *obstacles]
    placed: dict[int, Label] = {}
    for index in sorted(range(len(points)), key=lambda it: (points[it][1], points[it][0], it)):
        x, y, text = points[index]
        tried = list(_around(x, y))
        free = (
            label
            for label in tried
            if frame.holds(box := label.box(text)) and not any(box.meets(it) for it in taken)
        )
        placed[index] = next(free, tried[0]) if text else tried[0]
        if text:
            taken.append(placed[index].box(text))
    return [placed[index] for index in range(len(points))]


def _around(x: float, y: float) -> Iterator[Label]:
    for across, down, anchor in _SIDES:
        yield Label(round(x + across, 2), round(y + down, 2), anchor)

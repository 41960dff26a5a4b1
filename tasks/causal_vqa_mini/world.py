"""The rendered world: eight coloured objects, two causal pairs, and how a scene becomes pixels.

A picture is 48x48 RGB. Objects lie in the nine 16-pixel cells of a 3x3 grid. A causal scene is
a *mover* with three short white motion streaks behind it next to a *faller* that is tilted away
from it by 60 degrees. Silhouettes are evaluated at 4x4 points per pixel and blended with integer
weights, so that the same scene gives the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from lmms_causal.tasks.causal_vqa_mini.draws import Draws

SIZE = 48
CELL = 16
BOX = 14
_SUPER = 4
_OPAQUE = _SUPER * _SUPER
_STREAK_LENGTH = 4
TRAIL = _STREAK_LENGTH + 1
_STREAK_ROWS = (3, 7, 10)

# Domain tags: the first word of a seed tuple says what the draws are for.
_APPEARANCE, _NOISE = 11, 12

COLOURS: dict[str, tuple[int, int, int]] = {
    "yellow": (235, 215, 40),
    "red": (215, 40, 40),
    "green": (50, 170, 60),
    "blue": (50, 90, 220),
    "orange": (240, 140, 30),
    "purple": (140, 60, 180),
    "brown": (130, 85, 45),
    "white": (240, 240, 240),
}
"""Colour words and their RGB values."""

OBJECTS: dict[str, str] = {
    "banana": "yellow",
    "apple": "red",
    "leaf": "green",
    "drop": "blue",
    "pumpkin": "orange",
    "grape": "purple",
    "brick": "brown",
    "star": "white",
}
"""Object words and the colour each usually has."""

PAIRS: tuple[tuple[str, str], ...] = (("ball", "tower"), ("cart", "domino"))
"""Causal pairs as (what usually moves, what usually falls)."""

ACTORS: dict[str, tuple[int, int, int]] = {
    "ball": (225, 90, 150),
    "tower": (170, 175, 185),
    "cart": (70, 190, 200),
    "domino": (225, 205, 160),
}
"""The things of causal scenes and their fixed RGB values."""

POSES = ("still", "moved", "fell")


@dataclass(frozen=True)
class Thing:
    """One thing in a picture: its name, colour word (None for actors), place and pose.

    ``left`` and ``top`` are the pixel position of its 14x14 box. ``mirrored`` things move and fall
    to the left instead of to the right.
    """

    name: str
    colour: str | None
    left: int
    top: int
    pose: str = "still"
    mirrored: bool = False


@dataclass(frozen=True)
class Scene:
    """What is in a picture; ``seed`` fixes the background grey and the shades of the colours."""

    things: tuple[Thing, ...]
    seed: int

    def colour_of(self, name: str) -> str | None:
        """The colour word of the object, or None if it is not in the picture."""
        return next((thing.colour for thing in self.things if thing.name == name), None)

    @property
    def objects(self) -> tuple[str, ...]:
        """The names of everything in the picture, in drawing order."""
        return tuple(thing.name for thing in self.things)

    @property
    def causal(self) -> tuple[str, str] | None:
        """(cause, effect): what moved and what fell because of it; None without a causal pair."""
        by_pose = {thing.pose: thing.name for thing in self.things}
        return (by_pose["moved"], by_pose["fell"]) if "moved" in by_pose else None


def pixels(scene: Scene) -> np.ndarray:
    """The picture as uint8 of shape ``(48, 48, 3)``."""
    draws = Draws(_APPEARANCE, scene.seed)
    grey = draws.between(20, 70)
    canvas = np.empty((SIZE, SIZE, 3), dtype=np.int64)
    canvas[:] = grey + _shift(draws, 5.0)
    for thing in scene.things:
        base = ACTORS[thing.name] if thing.colour is None else COLOURS[thing.colour]
        _blend(canvas, coverage(thing), np.array(base) + _shift(draws, 8.0))
        if thing.pose == "moved":
            _blend(canvas, _streaks(thing), np.array(COLOURS["white"]))
    return np.clip(canvas, 0, 255).astype(np.uint8)


def render(scene: Scene) -> Image.Image:
    """The picture as a 48x48 RGB image."""
    return Image.fromarray(pixels(scene))


def add_noise(values: np.ndarray, sd: float, seed: int) -> np.ndarray:
    """Add Gaussian noise of this standard deviation, round and clip; any uint8 array.

    ``sd`` is in grey levels (0..255); 0 returns the array unchanged.
    """
    if sd < 0:
        raise ValueError(f"noise standard deviation must not be negative, got {sd}")
    if sd == 0:
        return values
    noise = Draws(_NOISE, seed).normals(values.size).reshape(values.shape)
    return np.clip(values + np.rint(sd * noise), 0, 255).astype(np.uint8)


def with_noise(image: Image.Image, sd: float, seed: int) -> Image.Image:
    """The image with Gaussian noise (see `add_noise`); the very same image for ``sd=0``."""
    return image if sd == 0 else Image.fromarray(add_noise(np.asarray(image), sd, seed))


def coverage(thing: Thing) -> np.ndarray:
    """How much of each pixel the thing covers, 0..16, int64 of shape ``(48, 48)``."""
    full = np.zeros((SIZE, SIZE), dtype=np.int64)
    mask = _box_mask(thing.name, thing.pose == "fell", thing.mirrored)
    full[thing.top : thing.top + BOX, thing.left : thing.left + BOX] = mask
    return full


def _shift(draws: Draws, sd: float) -> np.ndarray:
    """A small random change of a colour, integers of shape ``(3,)``."""
    return np.rint(sd * draws.normals(3)).astype(np.int64)


def _blend(canvas: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> None:
    """Paint a colour over the canvas ``(48, 48, 3)`` in place, weighted by the cover (0..16)."""
    weight = cover[..., None]
    canvas[:] = (canvas * (_OPAQUE - weight) + colour * weight + _OPAQUE // 2) // _OPAQUE


def _streaks(mover: Thing) -> np.ndarray:
    """Coverage ``(48, 48)`` of the three lines behind a moving thing, `TRAIL` pixels to its box."""
    cover = np.zeros((SIZE, SIZE), dtype=np.int64)
    start = mover.left + BOX + 1 if mover.mirrored else mover.left - TRAIL
    for row in _STREAK_ROWS:
        cover[mover.top + row, start : start + _STREAK_LENGTH] = _OPAQUE
    return cover


@cache
def _box_mask(name: str, fallen: bool, mirrored: bool) -> np.ndarray:
    """Coverage 0..16 of the silhouette in its own box, shape ``(14, 14)``."""
    points = BOX * _SUPER
    axis = (2 * np.arange(points) + 1 - points) / points
    x, y = np.meshgrid(axis, axis)
    if fallen:
        cos, sin = 0.5, 0.8660254037844386
        x, y = cos * x + sin * y, cos * y - sin * x
    inside = _SILHOUETTES[name](x, y)
    mask = inside.reshape(BOX, _SUPER, BOX, _SUPER).sum(axis=(1, 3))
    return mask[:, ::-1] if mirrored else mask


Silhouette = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _disc(x: np.ndarray, y: np.ndarray, cx: float, cy: float, radius: float) -> np.ndarray:
    return (x - cx) * (x - cx) + (y - cy) * (y - cy) < radius * radius


def _rectangle(
    x: np.ndarray, y: np.ndarray, left: float, top: float, right: float, bottom: float
) -> np.ndarray:
    return (x > left) & (x < right) & (y > top) & (y < bottom)


def _grape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    berries = ((-0.64, -0.6), (0, -0.6), (0.64, -0.6), (-0.33, 0.02), (0.33, 0.02), (0, 0.64))
    return np.logical_or.reduce([_disc(x, y, cx, cy, 0.31) for cx, cy in berries])


# Each silhouette is a predicate on the unit square, x to the right and y down. Actors stay inside
# the unit disc, so that a fallen one still fits its box, and none of them looks the same tilted.
_SILHOUETTES: dict[str, Silhouette] = {
    "banana": lambda x, y: _disc(x, y, 0, 0, 1) & ~_disc(x, y, 0.45, -0.4, 0.85),
    "apple": lambda x, y: _disc(x, y, 0, 0.22, 0.76) | _rectangle(x, y, -0.05, -1, 0.2, -0.4),
    "leaf": lambda x, y: _disc(x, y, 0.55, 0.55, 1.2) & _disc(x, y, -0.55, -0.55, 1.2),
    "drop": lambda x, y: _disc(x, y, 0, 0.42, 0.55) | ((abs(x) < 0.42 * (y + 1)) & (y < 0.25)),
    "pumpkin": lambda x, y: (
        (x * x + 2.2 * (y - 0.15) * (y - 0.15) < 1)
        & ~_disc(x, y, -0.38, 0.05, 0.2)
        & ~_disc(x, y, 0.38, 0.05, 0.2)
    ),
    "grape": _grape,
    "brick": lambda x, y: _rectangle(x, y, -1, -0.45, 1, 0.45),
    "star": lambda x, y: (abs(x) + 2.8 * abs(y) < 1) | (2.8 * abs(x) + abs(y) < 1),
    "ball": lambda x, y: _disc(x, y, 0, 0, 0.95) & (abs(y) > 0.16),
    "tower": lambda x, y: (
        _rectangle(x, y, -0.4, -0.9, 0.4, 0.9) & ~_rectangle(x, y, -0.14, -1, 0.14, -0.6)
    ),
    "cart": lambda x, y: (
        _rectangle(x, y, -0.85, -0.5, 0.85, 0.15)
        | _disc(x, y, -0.5, 0.42, 0.28)
        | _disc(x, y, 0.5, 0.42, 0.28)
    ),
    "domino": lambda x, y: (
        _rectangle(x, y, -0.3, -0.93, 0.3, 0.93)
        & ~_disc(x, y, 0, -0.5, 0.16)
        & ~_disc(x, y, 0, 0.5, 0.16)
    ),
}

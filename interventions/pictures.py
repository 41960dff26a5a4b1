"""Pure functions on pictures and on maps of relevance over them: masks, regions, crops.

A *map* is an array ``[h, w]`` of real numbers, larger where a picture matters more. A *mask* is a
bool array ``[H, W]``, true at the pixels that are kept. Pictures are PIL images; results are RGB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

__all__ = [
    "Box",
    "blacked_out",
    "bounding_box",
    "enlarged",
    "keep_ratio",
    "keep_strongest",
    "normalised",
    "relevance",
    "stretched",
    "strongest_regions",
    "widened",
]

Map = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""Left, upper, right, lower in pixels; right and lower are excluded, as in PIL."""

SLENDEREST = 8.0
"""How many times more of one side of the picture than of the other a crop may show."""


def normalised(values: Map) -> Map:
    """Return a map moved and scaled to 0..1; zeros if it is constant."""
    values = np.asarray(values, dtype=np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def relevance(values: Map, side: int, blur: float = 0.02) -> Map:
    """Return a small map as a smooth one ``[side, side]`` in 0..1.

    Normalised, enlarged by bicubic interpolation with zeros around it, blurred, normalised again.

    Args:
        values: ``[h, w]``.
        side: of the result.
        blur: standard deviation of the Gaussian, in sides.
    """
    height, width = values.shape
    large = ndimage.zoom(
        normalised(values),
        (side / height, side / width),
        order=3,
        mode="grid-constant",
        grid_mode=True,
    )
    return normalised(ndimage.gaussian_filter(large.clip(0.0, 1.0), blur * side))


def keep_ratio(similarity: float) -> float:
    """Return the share of pixels that AGLA keeps: ``1 - similarity / 2``, and less than all."""
    return min(1 - similarity / 2, 1 - 1e-5)


def keep_strongest(values: Map, ratio: float) -> Mask:
    """Return the mask of values no smaller than the one at rank ``int(count * ratio)`` from above.

    Ranks count from 0, so that ``int(count * ratio) + 1`` pixels are kept, and ties. A constant map
    keeps everything.
    """
    descending = np.sort(values, axis=None)[::-1]
    threshold = descending[min(int(values.size * ratio), values.size - 1)]
    return np.asarray(values >= threshold)


def stretched(values: Map, size: tuple[int, int]) -> Map:
    """Return a map enlarged to a picture's ``(width, height)`` by bilinear interpolation."""
    image = Image.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def strongest_regions(values: Map, share: float, regions: int) -> Mask:
    """Return the mask of the regions that hold most of a map.

    Pixels from the quantile ``1 - share`` up form regions, connected along sides; kept are the
    ``max(regions, int(count * share))`` regions of the ``count`` with the largest sums. A map that
    is constant, up to rounding, keeps everything.
    """
    if np.ptp(values) <= 1e-6 * np.abs(values).max():
        return np.ones(values.shape, dtype=bool)
    labels, count = ndimage.label(values >= np.quantile(values, 1 - share))
    sums = ndimage.sum_labels(values, labels, index=np.arange(1, count + 1))
    best = np.argsort(-sums, kind="stable")[: max(regions, int(count * share))]
    return np.isin(labels, best + 1)


def bounding_box(mask: Mask) -> Box:
    """Return the smallest box around what a mask keeps, which must be something."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def widened(box: Box, size: tuple[int, int], slenderest: float = SLENDEREST) -> Box:
    """Return the box, its relatively narrow side widened about the middle if it is very narrow.

    :func:`enlarged` makes both sides reach the picture's own: a sliver of a crop would become a
    picture of any length.

    Args:
        box: inside the picture.
        size: ``(width, height)`` of the picture.
        slenderest: largest ratio between the shares of the two sides that the box covers.
    """
    left, upper, right, lower = box
    across, down = (right - left) / size[0], (lower - upper) / size[1]
    left, right = _at_least(left, right, size[0], down / slenderest)
    upper, lower = _at_least(upper, lower, size[1], across / slenderest)
    return left, upper, right, lower


def _at_least(start: int, end: int, side: int, share: float) -> tuple[int, int]:
    """A range inside ``0..side`` around ``start..end`` that covers at least a share of it."""
    length = max(end - start, int(np.ceil(share * side)))
    start = min(max(start - (length - (end - start)) // 2, 0), side - length)
    return start, start + length


def blacked_out(picture: Image.Image, mask: Mask) -> Image.Image:
    """Return the picture, black where the mask keeps nothing; a mask of any size is stretched."""
    kept = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    if kept.size != picture.size:
        kept = kept.resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(picture.convert("RGB"), Image.new("RGB", picture.size), kept)


def enlarged(picture: Image.Image, box: Box) -> Image.Image:
    """Return a crop, enlarged so that both of its sides reach those of the picture."""
    left, upper, right, lower = box
    width, height = right - left, lower - upper
    factor = max(picture.width / width, picture.height / height)
    size = (
        max(round(width * factor), picture.width),
        max(round(height * factor), picture.height),
    )
    crop = picture.crop(box)
    return crop if crop.size == size else crop.resize(size, Image.Resampling.LANCZOS)

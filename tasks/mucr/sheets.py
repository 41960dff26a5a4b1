"""Several pictures on one sheet, for models that take one, as the paper's models did.

The paper's layout is not known to us; this one is ours. What is drawn decides scores, so the
constants are also in the metadata of the task files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CELL", "FONT", "STRIP", "sheet"]

CELL = 512
"""Side of the square a picture is fitted into, in pixels."""

STRIP = 48
"""Height of the caption above it."""

FONT = 32
"""Size of the letters, of Pillow's own font."""

_PER_ROW = 4


def sheet(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Draw pictures with captions above them, white in between.

    The first picture stands alone in the first row, in its middle, and the others in a row below:
    five pictures make 2048 x 1120 pixels, two make 512 x 1120.

    Args:
        pictures: RGB, two to five.
        captions: one per picture.

    Raises:
        ValueError: another number of pictures or captions.
    """
    from PIL import Image, ImageDraw, ImageFont

    below = len(pictures) - 1
    if not 1 <= below <= _PER_ROW or len(captions) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures and {len(captions)} captions on one sheet")
    width = below * CELL
    canvas = Image.new("RGB", (width, 2 * (CELL + STRIP)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=FONT)
    corners = [((width - CELL) // 2, 0), *((n * CELL, CELL + STRIP) for n in range(below))]
    for picture, caption, (left, top) in zip(pictures, captions, corners, strict=True):
        middle = (left + CELL // 2, top + STRIP // 2)
        pen.text(middle, caption, fill="black", font=font, anchor="mm")
        fitted = _fitted(picture)
        x, y = ((CELL - side) // 2 for side in fitted.size)
        canvas.paste(fitted, (left + x, top + STRIP + y))
    return canvas


def _fitted(picture: Image.Image) -> Image.Image:
    """The picture as large as fits into a cell."""
    from PIL import Image

    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)

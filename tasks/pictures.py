"""Image files as fully decoded RGB pictures, with errors that name the file and its document."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from lmms_causal.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["open_rgb", "require_decodable", "truncation_is_an_error"]

_open: WeakValueDictionary[Path, Image.Image] = WeakValueDictionary()
_lock = threading.Lock()
_decoding = 0
_tolerated = False


def open_rgb(path: Path, document: str) -> Image.Image:
    """Decode the picture completely and convert it to RGB.

    While a picture is in use anywhere, the same object is returned again: a harness that builds
    all requests beforehand then holds each picture once and not once per document. Do not draw on
    it.

    Args:
        path: an image file.
        document: identity of the document that needs it, for the error message.

    Raises:
        UserError: the file is missing, truncated or not an image.
    """
    with _lock:
        picture = _open.get(path)
    if picture is None:
        picture = _decode(path, f"needed by document {document}")
        with _lock:
            _open[path] = picture
    return picture


def require_decodable(path: Path) -> None:
    """Raise a `UserError` unless the file decodes to a picture."""
    _decode(path, "just downloaded; try again")


def _decode(path: Path, note: str) -> Image.Image:
    from PIL import Image

    try:
        with truncation_is_an_error(), Image.open(path) as opened:
            return opened.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"no image file {path} ({note})") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"corrupt image file {path} ({note}): {error}") from error


@contextmanager
def truncation_is_an_error() -> Iterator[None]:
    """Take back Pillow's switch that paints what is missing of a file grey, while we decode.

    lmms-eval turns the switch on for the whole process (0.7.3, ``api/task.py``), after which half a
    picture is as good as a whole one. Threads decode at the same time: the first to come turns it
    off, the last to leave restores what was there.
    """
    from PIL import ImageFile

    global _decoding, _tolerated
    with _lock:
        if _decoding == 0:
            _tolerated, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        _decoding += 1
    try:
        yield
    finally:
        with _lock:
            _decoding -= 1
            if _decoding == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _tolerated

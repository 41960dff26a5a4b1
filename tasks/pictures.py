"""Image files as fully decoded RGB pictures, with errors that name the file and its document."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from lmms_causal.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["open_rgb", "require_decodable"]

_open: WeakValueDictionary[Path, Image.Image] = WeakValueDictionary()
_lock = threading.Lock()


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
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"no image file {path} ({note})") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"corrupt image file {path} ({note}): {error}") from error

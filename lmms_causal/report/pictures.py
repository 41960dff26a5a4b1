"""Thumbnails of the documents' pictures, each once, within a budget of bytes."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from lmms_causal.compare.records import Sample
from lmms_causal.errors import UserError
from lmms_causal.report.documents import Document

__all__ = ["Album", "from_folder", "illustrate"]

_LONGEST_SIDE = 320
_SMALL = 96  # pictures up to this size are kept as they are
_QUALITY = 62
_MOST = 4  # pictures of one document
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
#: Attributes that may name a document's picture file, besides its id.
_NAMES = ("image", "image_id", "image_path", "image_name", "file_name", "filename")


class Album:
    """Encoded pictures, every distinct one once.

    Attributes:
        uris: ``data:`` addresses in the order in which they were added.
        size: Characters that they take.
        budget: Characters that they may take.
    """

    def __init__(self, budget: int) -> None:
        self.uris: list[str] = []
        self.size = 0
        self.budget = budget
        self._known: dict[str, int] = {}

    def add(self, picture: Image.Image) -> int | None:
        """Add a picture, no larger than 320 pixels a side; its index, or None if it is too much."""
        picture = _shrunk(picture)
        digest = hashlib.sha256(
            f"{picture.mode}{picture.size}".encode() + picture.tobytes()
        ).hexdigest()
        if digest in self._known:
            return self._known[digest]
        uri = _encoded(picture)
        if self.size + len(uri) > self.budget:
            return None
        self.size += len(uri)
        self._known[digest] = len(self.uris)
        self.uris.append(uri)
        return self._known[digest]


def illustrate(
    documents: Sequence[Document], album: Album, source: Callable[[Sample], Sequence[Image.Image]]
) -> tuple[int, int]:
    """Give documents their pictures, those that flipped first, until the album is full.

    Returns:
        How many documents have pictures in the page, and how many have any.
    """
    shown = having = 0
    full = False
    for document in sorted(documents, key=lambda it: (not it.flipped, not it.changed)):
        if full and not document.changed:
            break  # decoding thousands of pictures that will not be shown is only slow
        found = source(document.sample)[:_MOST]
        having += bool(found)
        indices = [album.add(picture) for picture in found]
        full = full or None in indices
        document.pictures = [index for index in indices if index is not None]
        shown += bool(document.pictures)
    return shown, having


def from_folder(folder: Path) -> Callable[[Sample], Sequence[Image.Image]]:
    """Pictures by file name: the document's id, its row number or what it records as its image.

    Raises:
        UserError: There is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UserError(f"--images {folder}: no such folder")
    files = {
        name: file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in _SUFFIXES
        for name in (file.name, file.stem)
    }
    if not files:
        raise UserError(f"--images {folder}: holds no picture ({', '.join(_SUFFIXES)})")

    def source(sample: Sample) -> Sequence[Image.Image]:
        names = [sample.key, *(sample.attributes.get(name) for name in _NAMES)]
        if sample.key is None:
            names.append(sample.doc_id)
        for name in names:
            if name is not None and (file := files.get(Path(str(name)).name)):
                try:
                    with Image.open(file) as picture:
                        return [picture.convert("RGB")]
                except (OSError, Image.DecompressionBombError):
                    raise UserError(f"{file}: cannot be read as a picture") from None
        return []

    return source


def _shrunk(picture: Image.Image) -> Image.Image:
    if picture.mode not in ("RGB", "RGBA"):
        picture = picture.convert("RGB")
    if max(picture.size) > _LONGEST_SIDE:
        picture = picture.copy()
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return picture


def _encoded(picture: Image.Image) -> str:
    """Small pictures and overlays without loss, photographs as WebP."""
    stream = io.BytesIO()
    if max(picture.size) <= _SMALL or picture.mode == "RGBA":
        picture.save(stream, "PNG", optimize=True)
        kind = "png"
    else:
        picture.save(stream, "WEBP", quality=_QUALITY, method=4)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"

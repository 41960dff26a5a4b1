"""The pictures of items: decoded when a document is used, one by one or drawn on one sheet.

While a picture is in use anywhere, the same object is returned again, since each one is shown in
five documents and lm-eval holds all of a run.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from lmms_causal.errors import UserError
from lmms_causal.tasks.mucr.data import DATA_VARIABLE, PICTURE_COLUMNS, Table, read_table
from lmms_causal.tasks.mucr.sheets import sheet
from lmms_causal.tasks.pictures import open_rgb, truncation_is_an_error

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["check_pictures", "pictures"]

_open: WeakValueDictionary[tuple[int, int, str], Image.Image] = WeakValueDictionary()
_lock = threading.Lock()


def pictures(doc: Mapping[str, Any]) -> list[Image.Image]:
    """What the document shows, in order: its pictures, one sheet with all of them, or none.

    Raises:
        UserError: a picture is missing or does not decode; the message names the document.
    """
    opened = [
        _picture(int(row), role, doc["id"])
        for row, role in zip(doc["picture_rows"], doc["picture_roles"], strict=True)
    ]
    one_sheet = bool(opened) and doc["form"] == "composite"
    return [sheet(opened, doc["captions"])] if one_sheet else opened


def check_pictures(rows: Sequence[int]) -> None:
    """See to it, without decoding anything, that the rows have their pictures.

    Raises:
        UserError: some have not; the message has their number and an example.
    """
    table = read_table()
    missing = [
        (row, column)
        for row in rows
        for column in PICTURE_COLUMNS.values()
        if not _is_there(table.packed(row, column))
    ]
    if missing:
        row, column = missing[0]
        raise UserError(
            f"{table.source}: {len(missing)} pictures are missing, for example "
            f"{table.packed(row, column) or 'the one'} of row {row}, column {column}; fetch the "
            f"data again, or set {DATA_VARIABLE} to a complete copy"
        )


def _is_there(packed: bytes | Path | None) -> bool:
    return packed.is_file() if isinstance(packed, Path) else packed is not None


def _picture(row: int, role: str, document: str) -> Image.Image:
    table = read_table()
    key = (id(table), row, role)
    with _lock:
        picture = _open.get(key)
    if picture is None:
        picture = _decode(table, row, PICTURE_COLUMNS[role], document)
        with _lock:
            _open[key] = picture
    return picture


def _decode(table: Table, row: int, column: str, document: str) -> Image.Image:
    from PIL import Image

    where = f"{table.source}, row {row}, column {column} (needed by document {document})"
    packed = table.packed(row, column)
    if packed is None:
        raise UserError(f"no picture in {where}; fetch the data again")
    if isinstance(packed, Path):
        return open_rgb(packed, document)
    try:
        with truncation_is_an_error(), Image.open(io.BytesIO(packed)) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"corrupt picture in {where}: {error}; fetch the data again") from error

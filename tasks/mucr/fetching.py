"""Having the data at hand before a run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lmms_causal.tasks.mucr.data import PICTURE_COLUMNS, Table, read_table
from lmms_causal.tasks.mucr.documents import VARIANTS, build
from lmms_causal.tasks.mucr.families import families
from lmms_causal.tasks.mucr.items import read_items
from lmms_causal.tasks.mucr.judge import PROTOCOL

__all__ = ["check", "content_digest", "fetch_all"]


def check(task: str) -> None:
    """Raise the `UserError` that building this task would raise; decodes no picture.

    Where a judge scores, it is asked for two verdicts.
    """
    build(task)
    if VARIANTS[task].judged:
        PROTOCOL.preflight()


def fetch_all(task: str, *, progress: bool = True) -> str:
    """Fetch the data set; one line that says what is there, with a checksum of its content.

    Raises:
        UserError: it cannot be had; the message says what to do.
    """
    count = len(build(task))
    items = read_items()
    found = families(items)
    incomplete = sum(not family.complete for family in found.values())
    note = f", {incomplete} of them in families of fewer than four" if incomplete else ""
    pictures = "with pictures" if VARIANTS[task].shows_pictures else "pictures are not used"
    return (
        f"{task}: {count} documents of {len(items)} items{note}, {pictures} "
        f"({read_table().source}, content sha256 {content_digest(read_table())})"
    )


def content_digest(table: Table) -> str:
    """Hexadecimal SHA-256 of all rows, pictures included, independent of how they are packed.

    The released revision has no known checksum; with this one, two runs can be told to have used
    the same data.
    """
    digest = hashlib.sha256()
    columns = PICTURE_COLUMNS.values()
    for number, row in enumerate(table.rows):
        texts = {name: value for name, value in row.items() if name not in columns}
        digest.update(json.dumps(texts, sort_keys=True, default=str).encode())
        for column in columns:
            packed = table.packed(number, column)
            data = packed.read_bytes() if isinstance(packed, Path) and packed.is_file() else packed
            digest.update(hashlib.sha256(data if isinstance(data, bytes) else b"").digest())
    return digest.hexdigest()

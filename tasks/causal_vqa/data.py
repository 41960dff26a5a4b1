"""The released CSV files, found locally or fetched from the pinned commit, always verified.

The captions have no licence file upstream, so they are not part of this package: each user's copy
comes from the authors' repository, or from the folder that ``CAUSAL_VQA_CSV_DIR`` names.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path

from lmms_causal.errors import UserError
from lmms_causal.tasks.download import cache_dir, fetch, require_sha256

__all__ = [
    "CSV_VARIABLE",
    "MANIFEST",
    "CaptionRow",
    "DataFile",
    "StatementRow",
    "locate",
    "manifest",
    "read_captions",
    "read_statements",
]

CSV_VARIABLE = "CAUSAL_VQA_CSV_DIR"
MANIFEST = Path(__file__).with_name("manifest.jsonl")
_CAPTION_FILES = {"vqa": "vqa_causal.csv", "vcr": "vcr_causal.csv"}
_STATEMENT_FILE = "multichoice.csv"


@dataclass(frozen=True)
class DataFile:
    """One released file: its name, where it is at the pinned commit, its sum and row count."""

    file: str
    url: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class CaptionRow:
    """One row of a caption file; ``row`` is 0-based and, with the file, identifies the pair."""

    row: int
    image_id: int | str
    sentence: str
    reverse_sentence: str


@dataclass(frozen=True)
class StatementRow:
    """One row of the object-and-activity control: two true statements, then two false ones."""

    row: int
    image_id: int
    statements: tuple[str, str, str, str]


def manifest() -> dict[str, DataFile]:
    """The released files by name."""
    lines = MANIFEST.read_text(encoding="utf-8").splitlines()
    files = [DataFile(**json.loads(line)) for line in lines if line.strip()]
    return {data.file: data for data in files}


def locate(name: str) -> Path:
    """The verified local copy of a released file, downloaded if need be.

    Raises:
        UserError: no such file in the folder that ``CAUSAL_VQA_CSV_DIR`` names, no network, or a
            file with another checksum than the released one.
    """
    data = manifest()[name]
    if folder := os.environ.get(CSV_VARIABLE):
        path = Path(folder).expanduser() / name
        if not path.is_file():
            raise UserError(
                f"{CSV_VARIABLE}={folder} has no file {name}; put the file from {data.url} there, "
                f"or unset {CSV_VARIABLE} to have it downloaded"
            )
        require_sha256(path, data.sha256, f"replace it by the file from {data.url}")
        return path
    path = cache_dir("causal_vqa", name)
    fetch(
        data.url,
        path,
        remedy=f"put that file into a folder as {name} and set {CSV_VARIABLE} to the folder",
        check=lambda got: require_sha256(got, data.sha256, f"what {data.url} serves has changed"),
    )
    require_sha256(path, data.sha256, "delete it to have it downloaded again")
    return path


def read_captions(source: str) -> list[CaptionRow]:
    """The rows of VQA-Causal (``vqa``, COCO ids) or VCR-Causal (``vcr``, relative paths)."""
    name = _CAPTION_FILES[source]
    with locate(name).open(encoding="utf-8", newline="") as file:
        rows = [
            CaptionRow(
                row,
                int(fields["image_id"]) if source == "vqa" else fields["image_id"],
                fields["sentence"],
                fields["reverse_sentence"],
            )
            for row, fields in enumerate(csv.DictReader(file))
        ]
    _require_rows(name, len(rows))
    return rows


def read_statements() -> list[StatementRow]:
    """The rows of the object-and-activity control; row k is about row k of VQA-Causal."""
    with locate(_STATEMENT_FILE).open(encoding="utf-8", newline="") as file:
        rows = [
            StatementRow(row, int(image_id), (first, second, third, fourth))
            for row, (image_id, first, second, third, fourth) in enumerate(csv.reader(file))
        ]
    _require_rows(_STATEMENT_FILE, len(rows))
    return rows


def _require_rows(name: str, found: int) -> None:
    expected = manifest()[name].rows
    if found != expected:
        raise UserError(f"{name} has {found} rows, the manifest says {expected}")

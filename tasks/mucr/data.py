"""The rows as released, from the hub or from files that a variable names; pictures stay packed.

Two generations of columns are known. The older one has ``caption_0``, ``caption_1`` and ``link_id``
(the ids of the three siblings), the newer one ``cause`` and ``effect`` and no ``link_id``. Both are
read, row by row. Which one the hub serves today was not known when this was written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.revisions import note, revision_of_dataset

__all__ = ["DATA_VARIABLE", "MANIFEST", "PICTURE_COLUMNS", "Table", "read_table"]

DATA_VARIABLE = "MUCR_DATA"
MANIFEST = Path(__file__).with_name("manifest.jsonl")
PICTURE_COLUMNS = {"cause": "image_0", "effect": "image_1"}
"""Where the picture of each role is."""

_JSON = (".jsonl", ".json")


@dataclass(frozen=True, eq=False)
class Table:
    """The rows without their pictures, and the way to these.

    Attributes:
        source: where the rows are from, for error messages.
        rows: the text columns of each row.
        packed: gives, for a row's number and a column, the picture's bytes or its file; None if
            there is neither.
    """

    source: str
    rows: tuple[Mapping[str, Any], ...]
    packed: Callable[[int, str], bytes | Path | None]


def read_table() -> Table:
    """All rows, from the file or folder that ``MUCR_DATA`` names, else from the hub.

    Raises:
        UserError: no such file, a file that cannot be read, no rows, or no network.
    """
    return _read(os.environ.get(DATA_VARIABLE, ""))


@lru_cache(maxsize=4)
def _read(given: str) -> Table:
    table = _local(given) if given else _hub()
    if not table.rows:
        raise UserError(f"{table.source} holds no rows; {_wanted()}")
    return table


def _local(given: str) -> Table:
    path = Path(given).expanduser()
    files = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
    parquet = [file for file in files if file.suffix == ".parquet"]
    lines = [file for file in files if file.suffix in _JSON]
    source = f"{DATA_VARIABLE}={given}"
    if parquet:  # a copy of the hub's folder may hold JSON files about the data, too
        return _arrow_table(source, _parquet(source, parquet))
    if not lines:
        raise UserError(f"{source} holds no .parquet, .jsonl or .json file; {_wanted()}")
    return _json_table(source, lines)


def _wanted() -> str:
    return (
        f"{DATA_VARIABLE} wants parquet files of the data set, or .jsonl or .json files with its "
        "columns in which image_0 and image_1 are picture files, relative to that file"
    )


def _parquet(source: str, files: Sequence[Path]) -> Any:
    import datasets

    names = [str(file) for file in files]
    try:
        return datasets.load_dataset("parquet", data_files=names, split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        line = str(error.__cause__ or error).partition("\n")[0]
        raise UserError(f"{source} cannot be read ({line}); fetch the files again") from error


def _hub() -> Table:
    import datasets

    declared = json.loads(MANIFEST.read_text(encoding="utf-8"))
    name = declared["dataset"]
    try:
        splits = datasets.load_dataset(name, revision=declared["revision"])
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        line = str(error).partition("\n")[0]
        raise UserError(
            f"data set {name} cannot be had ({line}); fetch it where there is a network, or set "
            f"{DATA_VARIABLE} to a folder with its files"
        ) from error
    split = next((split for split in ("test", "train") if split in splits), None)
    if split is None:
        raise UserError(
            f"data set {name} has the splits {', '.join(splits)}, neither test nor train; set "
            f"{DATA_VARIABLE} to the files that are meant"
        )
    if declared["revision"] is None:
        note(f"data set {name}", revision_of_dataset(splits[split]))
    return _arrow_table(f"data set {name}, split {split}", splits[split])


def _arrow_table(source: str, table: Any) -> Table:
    import datasets

    for column in PICTURE_COLUMNS.values():
        if column not in table.column_names:
            raise UserError(f"{source} has no column {column!r}; {_wanted()}")
        table = table.cast_column(column, datasets.Image(decode=False))
    texts = table.remove_columns(list(PICTURE_COLUMNS.values()))

    def packed(row: int, column: str) -> bytes | Path | None:
        value = table.select_columns([column])[row][column] or {}
        if value.get("bytes"):
            return bytes(value["bytes"])
        return Path(value["path"]) if value.get("path") else None

    return Table(source, tuple(texts), packed)


def _json_table(source: str, files: Sequence[Path]) -> Table:
    rows = [(file.parent, row) for file in files for row in _json_rows(file)]

    def packed(row: int, column: str) -> Path | None:
        folder, fields = rows[row]
        name = fields.get(column)
        return folder / name if isinstance(name, str) and name else None

    return Table(source, tuple(fields for _, fields in rows), packed)


def _json_rows(file: Path) -> Iterable[Mapping[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}; replace the file") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{file} is no list of rows; {_wanted()}")
    return rows

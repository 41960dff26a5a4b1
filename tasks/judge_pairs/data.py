"""The pairs: RewardBench from the hub, or files of the same columns that a variable names."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

__all__ = ["DATA_VARIABLE", "MANIFEST", "Pair", "read_pairs"]

DATA_VARIABLE = "JUDGE_PAIRS_DATA"
MANIFEST = Path(__file__).with_name("manifest.jsonl")
COLUMNS = ("prompt", "chosen", "rejected")
EMPTY = "(no reply)"
"""Stands for an answer without text."""

_FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


@dataclass(frozen=True)
class Pair:
    """A request, the better answer and the worse one."""

    key: str
    prompt: str
    chosen: str
    rejected: str
    subset: str


def read_pairs() -> list[Pair]:
    """All pairs, from the file or folder that ``JUDGE_PAIRS_DATA`` names, else from the hub.

    Raises:
        UserError: no such file, no network, or a row without one of `COLUMNS`.
    """
    given = os.environ.get(DATA_VARIABLE)
    rows = _local(Path(given).expanduser()) if given else _hub()
    seen: Counter[str] = Counter()
    pairs = []
    for number, row in enumerate(rows):
        texts = _texts(row, number, given or "the hub's data set")
        subset = str(row.get("subset") or "other")
        name = f"{subset}-{number if row.get('id') is None else row['id']}"
        seen[name] += 1
        pairs.append(Pair(name if seen[name] == 1 else f"{name}-{seen[name]}", *texts, subset))
    return pairs


def _texts(row: Mapping[str, Any], number: int, source: str) -> tuple[str, str, str]:
    texts = [row.get(column) for column in COLUMNS]
    for column, text in zip(COLUMNS, texts, strict=True):
        if not isinstance(text, str):
            raise UserError(
                f"{source}: row {number} has no text in column {column!r}; {DATA_VARIABLE} wants "
                f"the columns {', '.join(COLUMNS)} and, optionally, subset and id"
            )
    prompt, chosen, rejected = (str(text) for text in texts)
    # A model can neither be asked to repeat nothing nor be scored on it.
    return prompt, chosen if chosen.strip() else EMPTY, rejected if rejected.strip() else EMPTY


def _local(path: Path) -> Iterable[Mapping[str, Any]]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.suffix in _FORMATS and file.is_file()]
    if not files:
        raise UserError(
            f"{DATA_VARIABLE}={path} is no {', '.join(_FORMATS)} file and no folder with one"
        )
    if len({_FORMATS[file.suffix] for file in files}) > 1:
        raise UserError(f"{DATA_VARIABLE}={path} mixes formats; name one file of it instead")
    import datasets

    try:
        return datasets.load_dataset(
            _FORMATS[files[0].suffix], data_files=[str(file) for file in files], split="train"
        )
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(f"{DATA_VARIABLE}={path} cannot be read: {error}") from error


def _hub() -> Iterable[Mapping[str, Any]]:
    import datasets

    source = json.loads(MANIFEST.read_text(encoding="utf-8"))
    name = source["dataset"]
    try:
        rows = datasets.load_dataset(name, split=source["split"], revision=source["revision"])
    except (OSError, ValueError) as error:
        line = str(error).partition("\n")[0]
        raise UserError(
            f"data set {name} cannot be had ({line}); fetch it where there is a network, or set "
            f"{DATA_VARIABLE} to a file with its columns"
        ) from error
    if len(rows) != source["rows"]:
        raise UserError(f"data set {name} has {len(rows)} rows, the manifest says {source['rows']}")
    return rows

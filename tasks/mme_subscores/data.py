"""MME's rows, from the hub or from parquet files of the same columns that a variable names."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.revisions import note, revision_of_dataset

if TYPE_CHECKING:
    import datasets
    from PIL import Image

__all__ = ["COGNITION", "DATA_VARIABLE", "HALLUCINATION", "PERCEPTION", "picture", "rows"]

DATA_VARIABLE = "MME_DATA"
HUB = "lmms-lab-encoder/MME"
PERCEPTION = (
    *("existence", "count", "position", "color"),
    *("posters", "celebrity", "scene", "landmark", "artwork", "OCR"),
)
COGNITION = (
    *("commonsense_reasoning", "numerical_calculation"),
    *("text_translation", "code_reasoning"),
)
HALLUCINATION = PERCEPTION[:4]
"""Object level (existence, count) and attribute level (position, color)."""

COLUMNS = ("question_id", "image", "question", "answer", "category")


def rows() -> datasets.Dataset:
    """All questions with their pictures, checked: known categories, two questions per picture.

    Raises:
        UserError: the data cannot be had, or is not MME's.
    """
    return _rows(os.environ.get(DATA_VARIABLE, ""))


def picture(row: int) -> Image.Image:
    """The picture of a row, RGB."""
    return rows()[row]["image"].convert("RGB")


@cache
def _rows(given: str) -> datasets.Dataset:
    found = _local(Path(given).expanduser()) if given else _hub()
    source = f"{DATA_VARIABLE}={given}" if given else HUB
    if lacking := set(COLUMNS) - set(found.column_names):
        raise UserError(
            f"{source} has no column {', '.join(sorted(lacking))}; it wants {', '.join(COLUMNS)}"
        )
    keys = found.select_columns(["category", "question_id", "answer"]).to_list()
    unknown = {row["category"] for row in keys} - set(PERCEPTION + COGNITION)
    if unknown:
        raise UserError(f"{source} has the category {sorted(unknown)[0]!r}, which MME has not")
    for row in keys:
        if row["answer"].strip().lower() not in ("yes", "no"):
            raise UserError(f"{source}: the answer to {row['question_id']} is {row['answer']!r}")
    asked = Counter((row["category"], row["question_id"]) for row in keys)
    if odd := [name for name, count in asked.items() if count != 2]:
        raise UserError(
            f"{source}: {odd[0][1]} has {asked[odd[0]]} questions instead of 2 ({len(odd)} such "
            "pictures); MME's scores are by pairs of questions about one picture"
        )
    if not given:
        note(f"data set {HUB}", revision_of_dataset(found))
    return found


def _local(path: Path) -> datasets.Dataset:
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not all(file.is_file() and file.suffix == ".parquet" for file in files):
        raise UserError(
            f"{DATA_VARIABLE}={path} is no parquet file and no folder with one; take those of the "
            f"hub's data set {HUB}"
        )
    return _load("parquet", data_files=[str(file) for file in files], split="train")


def _hub() -> datasets.Dataset:
    return _load(HUB, split="test")


def _load(name: str, **options: Any) -> datasets.Dataset:
    import datasets

    try:
        return datasets.load_dataset(name, **options)
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        line = str(error).partition("\n")[0]
        raise UserError(
            f"MME cannot be read ({line}); fetch {HUB} where there is a network, or set "
            f"{DATA_VARIABLE} to a folder with its parquet files"
        ) from error

"""From questions to documents; the blind twin of a task has the same prompts and no picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.lite import part_of
from lmms_causal.tasks.pope_strict import images
from lmms_causal.tasks.pope_strict.data import SOURCES, SPLITS, read_questions
from lmms_causal.tasks.prompts import template

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "Variant", "build", "dataset"]


LITE_PICTURES = 20
"""Pictures of each file, with six questions each, in ``pope_strict_lite``."""


@dataclass(frozen=True)
class Variant:
    """Which files ``(source, split)`` a task reads, whether blind, and of how many pictures each.

    ``pictures`` is None for all.
    """

    files: tuple[tuple[str, str], ...]
    blind: bool
    pictures: int | None = None


_FILES = tuple((source, split) for source in SOURCES for split in SPLITS)
VARIANTS = {
    f"pope_strict_{source}_{split}{'_blind' * blind}": Variant(((source, split),), bool(blind))
    for source, split in _FILES
    for blind in (0, 1)
} | {
    f"pope_strict_lite{'_blind' * blind}": Variant(_FILES, bool(blind), LITE_PICTURES)
    for blind in (0, 1)
}
"""Every task of this benchmark by name."""


def build(name: str) -> list[dict[str, Any]]:
    """All documents of a task, in the order of the file: six questions about each picture.

    Raises:
        UserError: unknown task, or questions or a picture folder that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no pope_strict task {name!r}; there are: {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    docs: list[dict[str, Any]] = []
    for source, split in variant.files:
        of_file = _documents(source, split)
        docs += (
            of_file if variant.pictures is None else part_of(of_file, "image_id", variant.pictures)
        )
    if not variant.blind:
        images.check_folder(docs)
    return docs


def _documents(source: str, split: str) -> list[dict[str, Any]]:
    prompt = template("pope_strict", "question")
    return [
        {
            "id": f"{source}-{split}-{question.number}",
            "source": source,
            "stratum": f"{source}/{split}",
            "image_id": question.picture,
            "text": prompt.render(question=question.text),
            "question": question.text,
            "answer": question.label,
        }
        for question in read_questions(source, split)
    ]


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))

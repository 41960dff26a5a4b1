"""From questions to documents. A judge must be there before there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.mmhal import images
from lmms_causal.tasks.mmhal.data import read_questions
from lmms_causal.tasks.mmhal.judge import PROTOCOL
from lmms_causal.tasks.prompts import template

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "build", "dataset"]

VARIANTS = {"mmhal": False, "mmhal_blind": True}
"""Every task of this benchmark, and whether it is blind."""


def build(name: str) -> list[dict[str, Any]]:
    """All documents of a task.

    Raises:
        UserError: unknown task, or data, pictures or a judge that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no mmhal task {name!r}; there are: {', '.join(VARIANTS)}")
    prompt = template("mmhal", "question")
    docs: list[dict[str, Any]] = [
        {
            "id": f"mmhal-{question.number}",
            "source": "mmhal",
            "kind": question.kind,
            "stratum": question.kind,
            "image_id": question.picture,
            "contents": list(question.contents),
            "question": question.text,
            "text": prompt.render(question=question.text),
            "answer": question.reference,
        }
        for question in read_questions()
    ]
    if not VARIANTS[name]:
        images.FOLDER.require(docs)
    PROTOCOL.preflight()
    return docs


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))

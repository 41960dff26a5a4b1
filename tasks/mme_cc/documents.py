"""From released questions to documents: the prompt as it is, nothing added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.mme_cc.data import read_items
from lmms_causal.tasks.mme_cc.images import check_folder
from lmms_causal.tasks.mme_cc.subtasks import category_of, task_of

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "Variant", "build", "dataset"]

Document = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """How a task scores, and whether it shows the pictures."""

    judged: bool
    blind: bool


VARIANTS = {
    "mme_cc_judge": Variant(judged=True, blind=False),
    "mme_cc_judge_blind": Variant(judged=True, blind=True),
    "mme_cc_rule": Variant(judged=False, blind=False),
    "mme_cc_rule_blind": Variant(judged=False, blind=True),
}
"""Every task of this benchmark by name."""


def build(name: str) -> list[Document]:
    """All documents of a task; of one that shows pictures, a local folder must hold them all.

    Raises:
        UserError: unknown task, or data that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no MME-CC task {name!r}; there are: {', '.join(VARIANTS)}")
    documents = [
        {
            "id": f"{item.subtask}-{item.row}",
            "source": "mme_cc",
            "category": category_of(task_of(item.subtask)),
            "task": task_of(item.subtask),
            "subtask": item.subtask,
            "text": item.prompt,
            "images": list(item.images),
            "answer": item.reference,
            "criteria": item.criteria,
        }
        for item in read_items()
    ]
    if not VARIANTS[name].blind:
        check_folder(documents)
    return documents


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))

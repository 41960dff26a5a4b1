"""From MME's rows to documents. The question is shown as it is: it ends in its own request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.mme_subscores.data import COGNITION, HALLUCINATION, PERCEPTION, rows

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "Variant", "build", "dataset"]


@dataclass(frozen=True)
class Variant:
    """Which categories a task asks, and whether it shows the pictures."""

    categories: tuple[str, ...]
    blind: bool


VARIANTS = {
    "mme_subscores": Variant(PERCEPTION + COGNITION, False),
    "mme_subscores_blind": Variant(PERCEPTION + COGNITION, True),
    "mme_hallucination": Variant(HALLUCINATION, False),
    "mme_hallucination_blind": Variant(HALLUCINATION, True),
}
"""Every task of this benchmark by name."""


def build(name: str) -> list[dict[str, Any]]:
    """All documents of a task; the two questions about a picture are adjacent.

    Raises:
        UserError: unknown task, or data that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no mme_subscores task {name!r}; there are: {', '.join(VARIANTS)}")
    table = rows().select_columns(["category", "question_id", "question", "answer"]).to_list()
    asked: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number, row in enumerate(table):
        if row["category"] not in VARIANTS[name].categories:
            continue
        pair = asked.setdefault((row["category"], row["question_id"]), [])
        key = f"{row['category']}/{row['question_id']}"
        pair.append(
            {
                "id": f"{key}-{len(pair) + 1}",
                "pair_id": key,
                "image_id": key,
                "row": number,
                "source": "mme",
                "category": row["category"],
                "stratum": row["category"],
                "text": row["question"],
                "answer": row["answer"].strip().lower(),
            }
        )
    return [doc for pair in asked.values() for doc in pair]


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))

"""From questions to documents of the task: each question with its gold document at every position.

The documents in the prompt carry no numbers. A number would say where a document stands, and would
change with the order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.multi_doc_qa.data import read_questions
from lmms_causal.tasks.prompts import template

if TYPE_CHECKING:
    import datasets

__all__ = ["POSITIONS", "VARIANTS", "build", "dataset"]

POSITIONS = {
    10: (0, 4, 9),
    20: (0, 4, 9, 14, 19),
    30: (0, 4, 9, 14, 19, 24, 29),
}
"""Where the gold document is put, 0-based, by the number of documents."""

VARIANTS = {f"multi_doc_qa_{count}": count for count in POSITIONS}
"""Number of documents of each task."""


def build(name: str) -> list[dict[str, Any]]:
    """All documents of a task; those of one question are adjacent.

    Raises:
        UserError: unknown task, or data that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no multi_doc_qa task {name!r}; there are: {', '.join(VARIANTS)}")
    count = VARIANTS[name]
    prompt = template("multi_doc_qa", "question")
    built = []
    for question in read_questions(count):
        for position in POSITIONS[count]:
            passages = question.with_gold_at(position)
            built.append(
                {
                    "id": f"{count}-{question.row}-gold-{position}",
                    "pair_id": f"{count}-{question.row}",
                    "source": "nq-open",
                    "position": position,
                    "question": question.question,
                    "answers": list(question.answers),
                    "answer": question.answers[0],
                    "text": prompt.render(documents=passages, question=question.question),
                    "segments": [
                        f"Document (title: {passage.title}): {passage.text}\n"
                        for passage in passages
                    ],
                }
            )
    return built


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))

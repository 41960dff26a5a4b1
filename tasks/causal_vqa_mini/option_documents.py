"""The held-out questions with their options listed without letters, in both orders.

The first 125 questions of each cell of each kind, so that every kind has 1,000 documents in 500
pairs. Both documents of a pair show the same picture and ask for the same options in another order.

For ``order`` the captions follow the question, where the tiny model's training has them; for
``presence`` and ``colour`` the options precede it, because the tiny model answers these two only if
the prompt ends with the question it knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lmms_causal.tasks.causal_vqa_mini import documents
from lmms_causal.tasks.options import ORDERS, in_order

if TYPE_CHECKING:
    import datasets

__all__ = ["QUESTION_ABOUT_CAPTIONS", "build", "dataset"]

Document = dict[str, Any]

PER_CELL = 125
QUESTION_ABOUT_CAPTIONS = "which is right ?"


def build(kind: str) -> list[Document]:
    """All documents of one kind of question, pair by pair.

    Raises:
        UserError: no such kind.
    """
    return [
        document
        for question in documents.build(kind)
        if question["seed"] < PER_CELL and question.get("order") in (None, "cw")
        for document in _pair(question)
    ]


def dataset(kind: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(kind))


def _pair(question: Document) -> Iterator[Document]:
    """The question in both orders; its fields are those of `documents`, without letters."""
    shared = {name: question[name] for name in _SHARED}
    captions = question["kind"] == "order"
    choices = [question["correct"], question["wrong"]] if captions else question["choices"]
    for order in ORDERS:
        text, segments = _prompt(question["text"], in_order(choices, order), captions)
        yield {
            **shared,
            "id": f"{question['pair_id']}-{order}",
            "order": order,
            "text": text,
            "segments": segments,
            "choices": choices,
            "continuations": [f" {choice}" for choice in choices],
            "answer": question["correct"] if captions else question["answer"],
        }


_SHARED = ("pair_id", "source", "kind", "prior", "noise", "seed", "image_id", "stratum")


def _prompt(question: str, options: Sequence[str], captions: bool) -> tuple[str, list[str]]:
    """The prompt and the parts of it that may change places."""
    if captions:
        segments = [f"\n{option}" for option in options]
        return QUESTION_ABOUT_CAPTIONS + "".join(segments), segments
    segments = [f"{option}\n" for option in options]
    return "".join(segments) + question, segments

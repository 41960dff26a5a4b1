"""From pairs of answers to documents: three presentations, each in both orders.

* ``options``: the answers without names; the model repeats the better one. Nothing but the order
  differs between the two documents of a pair.
* ``names``: the answers belong to assistants A and B, and an answer keeps its letter when the two
  change places. Which answer is A is a hash of the pair, so neither letter is always right.
* ``letters``: the usual form, A is whoever comes first. The letters change along with the order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.judge_pairs.data import Pair, read_pairs
from lmms_causal.tasks.judge_pairs.openings import openings
from lmms_causal.tasks.options import ORDERS, in_order
from lmms_causal.tasks.prompts import template

if TYPE_CHECKING:
    import datasets

__all__ = ["CONTENTS", "VARIANTS", "build", "dataset"]

Document = dict[str, Any]

CONTENTS = ("chosen", "rejected")
"""The two answers of a pair, in the order in which ``ORDERS[0]`` lists them."""


def build(name: str) -> list[Document]:
    """All documents of a task, pair by pair.

    Raises:
        UserError: unknown task, or data that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no judge_pairs task {name!r}; there are: {', '.join(VARIANTS)}")
    return [document for pair in read_pairs() for document in VARIANTS[name](pair)]


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))


def _shared(pair: Pair, order: str) -> Document:
    return {
        "id": f"{pair.key}-{order}",
        "pair_id": pair.key,
        "source": "judge",
        "subset": pair.subset,
        "order": order,
    }


def _options(pair: Pair) -> Iterator[Document]:
    """Both answers without names; the choices are how each begins."""
    prompt = template("judge_pairs", "options")
    answers = [pair.chosen, pair.rejected]
    for order in ORDERS:
        listed = in_order(answers, order)
        yield {
            **_shared(pair, order),
            "text": prompt.render(prompt=pair.prompt, answers=listed),
            "segments": [f"<reply>\n{answer}\n</reply>\n" for answer in listed],
            "choices": list(openings(pair.chosen, pair.rejected)),
            "answer": 0,
        }


def _verdicts(pair: Pair, *, fixed: bool) -> Iterator[Document]:
    """Both answers under letters that stay with the answers (``fixed``) or with the places."""
    prompt = template("judge_pairs", "verdict")
    swapped = hashlib.sha256(pair.key.encode()).digest()[0] % 2
    for order in ORDERS:
        letters = "AB" if order == ORDERS[0] else "BA"
        if fixed:
            letters = "BA" if swapped else "AB"
        named = [
            {"letter": letter, "text": text}
            for letter, text in zip(letters, (pair.chosen, pair.rejected), strict=True)
        ]
        listed = in_order(named, order)
        yield {
            **_shared(pair, order),
            "text": prompt.render(prompt=pair.prompt, answers=listed),
            "segments": [_reply(answer["letter"], answer["text"]) for answer in listed],
            "letters": letters,
            "answer": letters[0],
        }


def _reply(letter: str, text: str) -> str:
    return f"<reply of assistant {letter}>\n{text}\n</reply of assistant {letter}>\n"


def _names(pair: Pair) -> Iterator[Document]:
    return _verdicts(pair, fixed=True)


def _letters(pair: Pair) -> Iterator[Document]:
    return _verdicts(pair, fixed=False)


VARIANTS: dict[str, Callable[[Pair], Iterator[Document]]] = {
    "judge_pairs_options": _options,
    "judge_pairs_names": _names,
    "judge_pairs_letters": _letters,
}
"""Every task of this benchmark by name, with what it makes of one pair."""

"""Needles in haystacks of our own making: a made-up fact somewhere in text about other things.

Retrieval scores need prompts whose answer stands in them, at several lengths and depths
(arXiv 2404.15574 takes 20 lengths and 10 depths). Texts are functions of their number; nothing in
them is a fact of the world that a model could know.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from lmms_causal.attend.documents import Document
from lmms_causal.errors import UserError

__all__ = ["haystacks"]

_PLACES = ("Orlenda", "Vask Harbour", "Tumbrel", "Little Quay", "Samarrow", "Upper Dene", "Pellin")
_PEOPLE = ("The baker", "A ferryman", "The teacher", "An old clerk", "The gardener", "A visitor")
_ACTS = (
    "walked along the canal and counted the boats",
    "read the notice about the new timetable twice",
    "carried two baskets of pears up the steps",
    "waited for the rain to stop under the arcade",
    "asked for the way to the upper market",
    "wrote a short letter and did not send it",
    "repaired the blue shutter before noon",
    "listened to the bells from across the river",
)
_TIMES = ("In the morning", "Before supper", "On the first warm day", "Late in the week", "At dusk")
_THINGS = ("key of the clock tower", "map of the tunnels", "seal of the guild", "last lantern")
_HIDING = (
    "inside a hollow loaf on the third shelf",
    "behind the painted fish in the ferry office",
    "under the seventh stone of the dry fountain",
    "in the green drum at the school",
)


def haystacks(tokenizer: Any, lengths: Sequence[int], depths: int, seed: int = 0) -> list[Document]:
    """Return one document for every length and depth.

    Args:
        tokenizer: counts.
        lengths: about how many tokens the text has, each.
        depths: how many places of the needle, evenly from the beginning to the end.
        seed: another seed makes other texts.

    Raises:
        UserError: a length too small for the needle and a sentence around it, or no depth.
    """
    if depths < 1:
        raise UserError(f"needles at {depths} depths; take one or more")
    made = []
    for length in lengths:
        for depth in range(depths):
            share = depth / (depths - 1) if depths > 1 else 0.5
            draw = random.Random(f"{seed}/{length}/{depth}")
            made.append(_haystack(tokenizer, length, share, draw, f"needle-{length}-{depth}"))
    return made


def _haystack(
    tokenizer: Any, length: int, share: float, draw: random.Random, name: str
) -> Document:
    place, thing, hiding = draw.choice(_PLACES), draw.choice(_THINGS), draw.choice(_HIDING)
    needle = f"The {thing} of {place} is kept {hiding}."

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    used = count(" " + needle)
    sentences: list[str] = []
    while True:
        act = draw.choice(_ACTS)
        sentence = f"{draw.choice(_TIMES)}, {draw.choice(_PEOPLE).lower()} {act}."
        used += count(" " + sentence)
        if used > length and sentences:
            break
        sentences.append(sentence)
        if used > length:
            raise UserError(
                f"a haystack of {length} tokens has no room for the needle and a sentence; take "
                f"{used} or more"
            )
    where = round(share * len(sentences))
    text = " ".join([*sentences[:where], needle, *sentences[where:]])
    question = f"Where is the {thing} of {place} kept? Answer in the words of the text."
    return Document(name, f"{text}\n\n{question}", needle=needle)

"""From annotated videos to documents, one list for each task.

In ``renamed`` tasks the question ends with other numbers for the clips, so that what is right no
longer depends on the numbers in the titles alone. The renaming is a function of the item.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.prompts import template
from lmms_causal.tasks.vcrbench_causal.data import Item, read_items

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "build", "dataset", "renaming"]

VARIANTS = ("plain", "renamed")


def build(variant: str) -> list[dict[str, Any]]:
    """All documents, ``plain`` or ``renamed``; those of blind tasks are the same.

    Raises:
        UserError: another variant, or data that cannot be had.
    """
    if variant not in VARIANTS:
        raise UserError(f"no variant {variant!r} of vcrbench_causal; use {' or '.join(VARIANTS)}")
    return [_document(item, variant) for item in read_items()]


def dataset(variant: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(variant))


def renaming(item: Item) -> list[int]:
    """Other numbers for clips 1, 2, ..., at least one of them new."""
    numbers = list(range(1, len(item.order) + 1))
    draw = random.Random(f"vcrbench_causal {item.key}")
    renamed = draw.sample(numbers, len(numbers))
    while renamed == numbers:
        renamed = draw.sample(numbers, len(numbers))
    return renamed


def _document(item: Item, variant: str) -> dict[str, Any]:
    # The authors' own words, of which lmms-eval has the copy. Their scripts strip the prompt.
    from lmms_eval.tasks.vcrbench.utils import VCRBENCH_PROMPT

    text = VCRBENCH_PROMPT.format(goal=item.goal).strip()
    names = list(range(1, len(item.order) + 1))
    if variant == "renamed":
        names = renaming(item)
        text = template("vcrbench_causal", "renamed").render(question=text, names=names).strip()
    order = [names[clip - 1] for clip in item.order]
    return {
        "id": item.key,
        "pair_id": item.key,
        "source": "vcrbench",
        "goal": item.goal,
        "video_file": item.video,
        "text": text,
        "order": order,
        "titles": list(item.order),
        "answer": f"Correct order: {', '.join(f'Clip {number}' for number in order)}",
    }

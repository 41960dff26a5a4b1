"""From walls to documents: which task shows which walls, after which solved examples."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.ocw.data import Wall, read_walls
from lmms_causal.tasks.prompts import template

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "Variant", "build", "dataset", "examples"]

SEED = 42
"""The authors'."""


@dataclass(frozen=True)
class Variant:
    """What is asked (``grouping`` or ``connections``), with how many examples, of which file."""

    asks: str
    shots: int
    file: str = "test.json"


VARIANTS = {
    **{f"ocw_{asks}_{shots}shot": Variant(asks, shots)
       for asks in ("grouping", "connections") for shots in (0, 1, 3, 5, 10)},
    "ocw_randomized_grouping_3shot": Variant("grouping", 3, "easy_test_randomized.json"),
    "ocw_wordnet_grouping_3shot": Variant("grouping", 3, "easy_test_wordnet.json"),
}  # fmt: skip
"""The tasks by name."""


def build(name: str) -> list[dict[str, Any]]:
    """All documents of a task.

    Raises:
        UserError: unknown task, or data that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no ocw task {name!r}; there are: {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    shown = examples(read_walls("train.json"), variant.shots)
    return [_document(wall, variant.asks, shown) for wall in read_walls(variant.file)]


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))


def examples(walls: list[Wall], shots: int) -> str:
    """Solved walls, drawn once as the authors do: the same for every wall that is asked.

    Raises:
        UserError: there are fewer walls than examples wanted.
    """
    if shots > len(walls):
        raise UserError(
            f"train.json has {len(walls)} walls, too few for {shots} examples; use fewer shots"
        )
    solved = []
    for number, wall in enumerate(random.Random(SEED).sample(walls, shots), start=1):
        lines = [
            f"{', '.join(group)}. Connection: {connection}"
            for group, connection in zip(wall.groups, wall.connections, strict=True)
        ]
        solved.append("\n".join([f"Example {number}", *lines]))
    return "\n\n".join(solved)


def _document(wall: Wall, asks: str, shown: str) -> dict[str, Any]:
    groups = [", ".join(group) for group in wall.groups]
    if asks == "grouping":
        lines = groups
    else:
        pairs = zip(groups, wall.connections, strict=True)
        lines = [f"{group}. Connection: {connection}" for group, connection in pairs]
    prompt = template("ocw", asks)
    return {
        "id": wall.key,
        "pair_id": wall.key,
        "source": "ocw",
        "words": list(wall.words),
        "groups": [list(group) for group in wall.groups],
        "connections": list(wall.connections),
        "text": prompt.render(examples=shown, clues=", ".join(wall.words), groups=groups).strip(),
        "answer": "\n".join(lines),
    }

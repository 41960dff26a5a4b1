"""From AMBER's queries to documents; blind twins have the same prompts and no picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.amber import images, official
from lmms_causal.tasks.amber.data import DIMENSIONS, Item, items, vocabulary
from lmms_causal.tasks.lite import part_of
from lmms_causal.tasks.prompts import template

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "Variant", "build", "dataset"]


LITE_PICTURES = 30
"""Pictures of ``amber_discriminative_lite``, with about fourteen questions each."""


@dataclass(frozen=True)
class Variant:
    """What a task asks.

    Attributes:
        generative: for descriptions, or yes/no questions.
        blind: without the pictures.
        pictures: about how many pictures (None: all).
        official: scored by the authors' matcher too, which must be at hand.
    """

    generative: bool
    blind: bool
    pictures: int | None = None
    official: bool = False


VARIANTS = {
    "amber_discriminative": Variant(generative=False, blind=False),
    "amber_discriminative_blind": Variant(generative=False, blind=True),
    "amber_discriminative_lite": Variant(generative=False, blind=False, pictures=LITE_PICTURES),
    "amber_discriminative_lite_blind": Variant(False, True, LITE_PICTURES),
    "amber_generative": Variant(generative=True, blind=False),
    "amber_generative_blind": Variant(generative=True, blind=True),
    "amber_generative_official": Variant(generative=True, blind=False, official=True),
    "amber_generative_official_blind": Variant(generative=True, blind=True, official=True),
}
"""Every task of this benchmark by name."""


def build(name: str) -> list[dict[str, Any]]:
    """All documents of a task, in the order of the release.

    Raises:
        UserError: unknown task, or files, a picture folder or a matcher that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no amber task {name!r}; there are: {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    make = _description if variant.generative else _question
    docs = [make(item) for item in items(generative=variant.generative)]
    if variant.pictures is not None:
        docs = part_of(docs, "image_id", variant.pictures)
    if variant.generative:
        _require_known({word for doc in docs for word in doc["truth"] + doc["imagined"]})
    if not variant.blind:
        images.FOLDER.require(docs)
    if variant.official:
        official.load()  # to miss it now, not after the model has answered
    return docs


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))


def _question(item: Item) -> dict[str, Any]:
    dimension = DIMENSIONS[item.kind]
    return {
        "id": f"amber-{item.number}",
        "source": "amber",
        "dimension": dimension,
        "stratum": dimension,
        "image_id": item.picture,
        "text": template("amber", "question").render(query=item.query),
        "answer": item.truth[0],
    }


def _description(item: Item) -> dict[str, Any]:
    return {
        "id": f"amber-{item.number}",
        "source": "amber",
        "stratum": "generative",
        "image_id": item.picture,
        "text": template("amber", "description").render(query=item.query),
        "truth": list(item.truth),
        "imagined": list(item.imagined),
        "answer": ", ".join(item.truth),
    }


def _require_known(words: set[str]) -> None:
    known = vocabulary().associated
    if missing := sorted(words - set(known)):
        raise UserError(
            f"AMBER's relation.json does not know the annotated object {missing[0]!r}; take "
            "relation.json and annotations.json from the same release"
        )

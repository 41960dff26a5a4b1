"""From instances to documents: four stages of two True/False questions each.

| stage | picture | the statement is judged by |
|---|---|---|
| ``ck`` common sense | the factual one | common sense |
| ``vp`` perception | the best counterfactual one | the picture |
| ``cb`` commonsense bias | the best counterfactual one | the counterfactual context, as text |
| ``lp`` language prior | each good counterfactual one | the picture |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.lite import part_of
from lmms_causal.tasks.prompts import template
from lmms_causal.tasks.vlind import images
from lmms_causal.tasks.vlind.data import STYLES, Instance, read_instances

if TYPE_CHECKING:
    import datasets

__all__ = ["STAGES", "VARIANTS", "build", "dataset"]

STAGES = ("ck", "vp", "cb", "lp")
LITE_INSTANCES = 30
"""Instances of ``vlind_lite``."""


@dataclass(frozen=True)
class Variant:
    """Whether a task is blind, and how many instances it has (None: all)."""

    blind: bool
    instances: int | None = None


VARIANTS = {
    "vlind": Variant(False),
    "vlind_blind": Variant(True),
    "vlind_lite": Variant(False, LITE_INSTANCES),
    "vlind_lite_blind": Variant(True, LITE_INSTANCES),
}
"""Every task of this benchmark by name."""

_THERE_IS = "There is {} in the image."


def build(name: str) -> list[dict[str, Any]]:
    """All documents of a task; those of one instance are adjacent: 6 and 2 for each good picture.

    Raises:
        UserError: unknown task, or data or pictures that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no vlind task {name!r}; there are: {', '.join(VARIANTS)}")
    docs = [doc for instance in read_instances() for doc in _documents(instance)]
    if (count := VARIANTS[name].instances) is not None:
        docs = part_of(docs, "instance", count)
    if not VARIANTS[name].blind:
        images.require(docs)
    return docs


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))


def _documents(instance: Instance) -> Iterator[dict[str, Any]]:
    texts = instance.texts
    true, false = texts["true_statement"], texts["false_statement"]
    nouns = [_THERE_IS.format(texts[field]) for field in ("existent_noun", "non-existent_noun")]
    best = f"{instance.counterfactual}/{instance.best}.jpg"
    yield from _pair(instance, "ck", "0", instance.factual, (false, true), "common sense")
    yield from _pair(instance, "vp", instance.best, best, (nouns[0], nouns[1]), "the image")
    yield from _pair(instance, "cb", instance.best, best, (true, false), "the context")
    for number in instance.good:
        picture = f"{instance.counterfactual}/{number}.jpg"
        yield from _pair(instance, "lp", number, picture, (true, false), "the image")


def _pair(
    instance: Instance,
    stage: str,
    number: str,
    picture: str,
    statements: tuple[str, str],
    basis: str,
) -> Iterator[dict[str, Any]]:
    """Two documents about one picture: the first statement is true, the second false."""
    for answer, statement in zip(("true", "false"), statements, strict=True):
        yield {
            "id": f"{instance.key}-{stage}-{number}-{answer}",
            "pair_id": f"{instance.key}-{stage}-{number}",
            "instance": instance.key,
            "source": "vlind",
            "concept": instance.texts["concept"],
            "stage": stage,
            "style": next(
                (name for name, numbers in STYLES.items() if int(number) in numbers), "other"
            ),
            "stratum": f"{stage}/{instance.texts['concept']}",
            "good": len(instance.good),
            "image_id": picture,
            "text": template("vlind", "question").render(
                context=instance.texts["context"] if stage == "cb" else None,
                statement=statement,
                basis=basis,
            ),
            "answer": answer,
        }

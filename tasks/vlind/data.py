"""The instances of VLind-Bench and the pictures of each, from the folder of the release."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lmms_causal.errors import UserError
from lmms_causal.tasks.released import Release

__all__ = ["DATA_VARIABLE", "RELEASE", "STYLES", "VOTES", "Instance", "read_instances"]

DATA_VARIABLE = "VLIND_ROOT"
RELEASE = Release(
    "vlind",
    DATA_VARIABLE,
    "https://huggingface.co/datasets/klee972/VLind-Bench (data.json, unpacked pictures)",
)
VOTES = 2
"""A counterfactual picture is good if at least so many annotators say so."""
STYLES = {"photorealistic": range(0, 4), "illustration": range(4, 8), "cartoon": range(8, 12)}
"""Numbers of the pictures in each style."""

_TEXTS = (
    *("concept", "context", "factual_context", "true_statement", "false_statement"),
    *("existent_noun", "non-existent_noun"),
)


@dataclass(frozen=True)
class Instance:
    """One counterfactual situation.

    Attributes:
        key: concept and number, unique.
        texts: the sentences and nouns of the release, by their field.
        best: number of the counterfactual picture for perception and bias.
        good: numbers of the counterfactual pictures for the language prior.
        counterfactual: folder of the counterfactual pictures, below that of the pictures.
        factual: the picture of the real world, as a path below that of the pictures.
    """

    key: str
    texts: dict[str, str]
    best: str
    good: tuple[str, ...]
    counterfactual: str
    factual: str


def read_instances() -> list[Instance]:
    """The instances that have a good picture, in the order of ``data.json``.

    Raises:
        UserError: ``VLIND_ROOT`` is not set, has no ``data.json``, or that is not VLind's.
    """
    path = RELEASE.locate("data.json")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from error
    instances: list[Instance] = []
    for number, row in enumerate(rows):
        try:
            texts = {field: str(row[field]) for field in _TEXTS}
            votes = row["aggregated_human_label_good_images"]
            good = tuple(str(picture) for picture, count in votes.items() if count >= VOTES)
            context = row["context_id"]
            concept = texts["concept"]
            instance = Instance(
                f"{concept}-{context}",
                texts,
                str(row["best_img_id"]),
                good,
                f"counterfactual/{concept}/{context}_{texts['context']}",
                f"factual/{concept}/{context}_{texts['factual_context']}/0.jpg",
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: entry {number} is no instance of VLind-Bench "
                f"({type(error).__name__}: {error}); take the file from {RELEASE.origin}"
            ) from error
        if good:
            instances.append(instance)
    if len({instance.key for instance in instances}) < len(instances) or not instances:
        raise UserError(
            f"{path} has no usable instance, or one twice; take it from {RELEASE.origin}"
        )
    return instances

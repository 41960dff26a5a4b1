"""From sentences to documents of the tasks: one per question, both subsets side by side.

A plausible and an implausible question form a pair if they stand at the same place: level, index
of the sentence, clause of the entity, type. That is a matter of shape only (the words differ), but
it keeps both subsets in every ``--limit``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.centerbench.data import SUBSETS, TYPES, Sentence, read_sentences
from lmms_causal.tasks.centerbench.defects import known_bad
from lmms_causal.tasks.centerbench.verbs import verb_forms
from lmms_causal.tasks.prompts import template

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "build", "dataset"]

VARIANTS = {
    "centerbench": "direct",
    "centerbench_think": "think",
    "centerbench_no_think": "no_think",
}
"""How each task asks: for the answer at once, after thought, or with a switch against thought."""


def build(name: str) -> list[dict[str, Any]]:
    """All documents of a task, by level, sentence, clause and type, the plausible one first.

    Raises:
        UserError: unknown task, or data that cannot be had.
    """
    if name not in VARIANTS:
        raise UserError(f"no centerbench task {name!r}; there are: {', '.join(VARIANTS)}")
    made = [
        document
        for subset in SUBSETS
        for sentence in read_sentences(subset)
        for document in _documents(sentence, VARIANTS[name])
    ]
    types, subsets = list(TYPES), list(SUBSETS)
    return sorted(
        made,
        key=lambda doc: (
            doc["level"],
            doc["index"],
            doc["clause"],
            types.index(doc["type"]),
            subsets.index(doc["subset"]),
        ),
    )


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))


def _documents(sentence: Sentence, mode: str) -> list[dict[str, Any]]:
    prompt = template("centerbench", "question")
    forms = json.dumps(verb_forms(sentence), sort_keys=True)
    bad = known_bad(sentence)
    place = f"{sentence.level}/{sentence.index:02d}"
    documents = []
    for question in sentence.questions:
        entity = sentence.entities[question.clause]
        pair = f"{place}/{question.clause}/{question.type}"
        documents.append(
            {
                "id": f"{sentence.subset}/{pair}",
                "pair_id": pair,
                "sentence_id": f"{sentence.subset}/{place}",
                "subset": sentence.subset,
                "level": sentence.level,
                "index": sentence.index,
                "clause": question.clause,
                "type": question.type,
                "difficulty": TYPES[question.type],
                "is_middle": entity == sentence.middle,
                "known_bad": (question.clause, question.type) in bad,
                "entity": entity,
                "entities": list(sentence.entities),
                "sentence": sentence.text,
                "question": question.question,
                "answer": question.answer,
                "verb_forms": forms,  # a table cannot hold mappings whose keys differ per row
                "text": prompt.render(
                    sentence=sentence.text, question=question.question, mode=mode
                ),
            }
        )
    return documents

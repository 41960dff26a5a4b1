"""The released sentences with their questions, found locally or fetched from the pinned commit.

Counters beside the sentences are stale in one of the files, ``all_entities`` is in no order, and a
verb in ``structure`` is sometimes a parser's slip; none of these is read. ``structure`` gives the
order of the clauses, which is what pairs the two subsets.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.download import cache_dir, fetch, require_sha256

__all__ = [
    "CHECKSUM_VARIABLE",
    "DATA_VARIABLE",
    "MANIFEST",
    "SUBSETS",
    "TYPES",
    "Question",
    "Sentence",
    "locate",
    "read_sentences",
]

DATA_VARIABLE = "CENTERBENCH_DIR"
CHECKSUM_VARIABLE = "CENTERBENCH_CHECKSUMS"
MANIFEST = Path(__file__).with_name("manifest.jsonl")

SUBSETS = ("plausible", "implausible")
TYPES = {
    "action_performed": "easy",
    "agent_identification": "easy",
    "entity_count": "medium",
    "nested_dependency": "medium",
    "causal_sequence": "hard",
    "chain_consequence": "hard",
}
"""The six question types, in the order of the files, with their difficulty."""

_LEVEL = re.compile(r"complexity_(\d+)")


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        clause: 0-based place of the entity's clause, 0 for the main clause.
        type: one of `TYPES`.
        answer: the reference, white space collapsed.
    """

    clause: int
    type: str
    question: str
    answer: str


@dataclass(frozen=True)
class Sentence:
    """One sentence: its entities in clause order, the outermost first, and its questions.

    Attributes:
        level: complexity, the number of embedded clauses (1 to 6).
        index: 1-based place within level and subset.
    """

    subset: str
    level: int
    index: int
    text: str
    entities: tuple[str, ...]
    middle: str
    questions: tuple[Question, ...]

    def answer(self, clause: int, kind: str) -> str:
        """The reference of one question."""
        return next(q.answer for q in self.questions if (q.clause, q.type) == (clause, kind))


def locate(subset: str) -> Path:
    """The verified local file of a subset, downloaded if need be.

    With ``CENTERBENCH_DIR`` it is ``{subset}_subset.json`` or ``{subset}.jsonl`` (a sentence a
    line) in that folder. Another checksum than the released file's is an error unless
    ``CENTERBENCH_CHECKSUMS=off``.

    Raises:
        UserError: there is none, no network, or another checksum.
    """
    lines = MANIFEST.read_text(encoding="utf-8").splitlines()
    source = next(file for file in map(json.loads, lines) if file["subset"] == subset)
    checked = os.environ.get(CHECKSUM_VARIABLE, "").lower() != "off"
    if folder := os.environ.get(DATA_VARIABLE):
        names = (source["file"], f"{subset}.jsonl")
        candidates = [Path(folder).expanduser() / name for name in names]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise UserError(
                f"{DATA_VARIABLE}={folder} has no file {' or '.join(names)}; put the file from "
                f"{source['url']} there, or unset {DATA_VARIABLE} to have it downloaded"
            )
        if checked and path.name == source["file"]:
            remedy = f"replace it by {source['url']}, or set {CHECKSUM_VARIABLE}=off to use it"
            require_sha256(path, source["sha256"], remedy)
        return path
    path = cache_dir("centerbench", source["file"])
    return fetch(
        source["url"],
        path,
        remedy=f"put that file into a folder and set {DATA_VARIABLE} to the folder",
        check=lambda got: require_sha256(got, source["sha256"], "download it again"),
    )


def read_sentences(subset: str) -> list[Sentence]:
    """The sentences of a subset, by level and index.

    Raises:
        UserError: no data, or a sentence that is not in the released form.
    """
    path = locate(subset)
    sentences = []
    for level, index, row in _rows(path):
        try:
            sentences.append(_sentence(subset, level, index, row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path}: sentence {index} of level {level} is not in the released form "
                f"({type(error).__name__}: {error}); replace the file by the released one"
            ) from error
    if not sentences:
        raise UserError(f"{path} holds no sentence; replace it by the released file")
    return sorted(sentences, key=lambda sentence: (sentence.level, sentence.index))


def _rows(path: Path) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    """Level, 1-based index within the level, and the sentence's object."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            levels: dict[str, list[Any]] = {}
            for row in rows:
                levels.setdefault(str(row["id"]).partition("_sentence")[0], []).append(row)
        else:
            levels = {name: block["sentences"] for name, block in json.loads(text).items()}
        for name, sentences in levels.items():
            if not (number := _LEVEL.match(name)):
                raise ValueError(f"{name!r} names no level")
            for index, row in enumerate(sentences, 1):
                yield int(number[1]), index, row
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is not in the released form ({type(error).__name__}: {error}); "
            "replace the file by the released one"
        ) from error


def _sentence(subset: str, level: int, index: int, row: Mapping[str, Any]) -> Sentence:
    entities = tuple(clause["subject"] for clause in row["structure"])
    # A row that went through a table has a null for every entity of every other sentence.
    asked = {
        name.casefold(): questions
        for name, questions in row["questions_by_entity"].items()
        if questions is not None
    }
    if len(entities) != level + 1 or set(asked) != {name.casefold() for name in entities}:
        raise ValueError(f"{len(entities)} clauses and questions about {len(asked)} entities")
    questions = []
    for clause, entity in enumerate(entities):
        found = asked[entity.casefold()]
        if [question["type"] for question in found] != list(TYPES):
            raise ValueError(f"the questions about {entity!r} are not one of each type")
        questions += [
            Question(clause, q["type"], q["question"].strip(), " ".join(q["answer"].split()))
            for q in found
        ]
    return Sentence(
        subset,
        level,
        index,
        row["sentence"].strip(),
        entities,
        row["middle_entity"],
        tuple(questions),
    )

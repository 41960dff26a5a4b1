"""The released questions with their documents, found locally or fetched from the pinned commit.

For each number of documents the authors release one file per position of the gold document; the
files differ in nothing else (their script inserts it into the same list of distractors), so one
file per number is read and the gold document is moved here.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.download import cache_dir, fetch

__all__ = ["DATA_VARIABLE", "MANIFEST", "Passage", "Question", "locate", "read_questions"]

DATA_VARIABLE = "MULTI_DOC_QA_DIR"
MANIFEST = Path(__file__).with_name("manifest.jsonl")


@dataclass(frozen=True)
class Passage:
    """One document: a title and about a hundred words."""

    title: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question, its accepted answers, the document that holds one, and the others in order."""

    row: int
    question: str
    answers: tuple[str, ...]
    gold: Passage
    distractors: tuple[Passage, ...]

    def with_gold_at(self, position: int) -> tuple[Passage, ...]:
        """All documents, the gold one at this 0-based position."""
        others = self.distractors
        return (*others[:position], self.gold, *others[position:])


def locate(count: int) -> Path:
    """The local file of the questions with this many documents, downloaded if need be.

    With ``MULTI_DOC_QA_DIR`` it is looked for in that folder and its sub-folders: any file named
    ``*{count}_total_documents*gold_at_*.jsonl``, also with ``.gz``.

    Raises:
        UserError: there is none, or no network.
    """
    files = (json.loads(line) for line in MANIFEST.read_text(encoding="utf-8").splitlines())
    source = next(file for file in files if file["documents"] == count)
    if folder := os.environ.get(DATA_VARIABLE):
        pattern = f"*{count}_total_documents*gold_at_*.jsonl*"
        found = sorted(Path(folder).expanduser().rglob(pattern))
        if not found:
            raise UserError(
                f"{DATA_VARIABLE}={folder} has no file {pattern}; put the file from "
                f"{source['url']} there, or unset {DATA_VARIABLE} to have it downloaded"
            )
        return found[0]
    return fetch(
        source["url"],
        cache_dir("multi_doc_qa", source["file"]),
        remedy=f"put that file into a folder and set {DATA_VARIABLE} to the folder",
        check=lambda got: _check(got, count),
    )


def read_questions(count: int) -> list[Question]:
    """The questions with this many documents.

    Raises:
        UserError: no data, a file that is not in the released form, or a row with another number
            of documents or not exactly one gold document.
    """
    return _read(locate(count), count)


def _check(path: Path, count: int) -> None:
    _read(path, count)


def _read(path: Path, count: int) -> list[Question]:
    questions = []
    for number, row in enumerate(_rows(path)):
        try:
            questions.append(_question(number, row, count))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: row {number} is no question with {count} documents, one of them gold "
                f"({type(error).__name__}: {error}); replace the file by the released one"
            ) from error
    if not questions:
        raise UserError(f"{path} holds no question; replace it by the released one")
    return questions


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON lines: {error}") from error


def _question(number: int, row: Mapping[str, Any], count: int) -> Question:
    passages = row["ctxs"]
    gold = [passage for passage in passages if passage["isgold"]]
    if len(passages) != count or len(gold) != 1:
        raise ValueError(f"{len(passages)} documents, {len(gold)} of them gold")
    if not row["answers"]:
        raise ValueError("no answers")
    others = [passage for passage in passages if not passage["isgold"]]
    return Question(
        number,
        row["question"],
        tuple(row["answers"]),
        Passage(gold[0]["title"], gold[0]["text"]),
        tuple(Passage(passage["title"], passage["text"]) for passage in others),
    )

"""The nine question files of POPE as the intervention papers use them, checked row by row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lmms_causal.errors import UserError
from lmms_causal.tasks.released import Release, json_rows

__all__ = ["DATA_VARIABLE", "RELEASE", "SOURCES", "SPLITS", "Question", "read_questions"]

DATA_VARIABLE = "POPE_ROOT"
SPLITS = ("random", "popular", "adversarial")
SOURCES = {"coco": "coco_pope", "aokvqa": "aokvqa_pope_seem", "gqa": "gqa_pope_seem"}
"""Where the pictures are from, and how the files of that source begin."""

ROWS = 3000
COMMIT = "039af55ecd68005ea767b8579a5766f038a780ad"
RELEASE = Release(
    "pope_strict",
    DATA_VARIABLE,
    "https://github.com/DAMO-NLP-SG/VCD/tree/master/experiments/data/POPE",
    f"https://raw.githubusercontent.com/DAMO-NLP-SG/VCD/{COMMIT}/experiments/data/POPE",
)


@dataclass(frozen=True)
class Question:
    """One question: is the named thing in the picture; ``label`` is "yes" or "no"."""

    number: int
    picture: str
    text: str
    label: str


def read_questions(source: str, split: str) -> list[Question]:
    """The questions of one file, from the folder that ``POPE_ROOT`` names, else downloaded.

    Raises:
        UserError: the file cannot be had, or a row is not a yes/no question about a picture.
    """
    name = f"{source}/{SOURCES[source]}_{split}.json"
    plain = f"{source}_pope_{split}.json"
    questions = _read(RELEASE.locate(name, plain, f"{name}l", f"{plain}l", check=_require_complete))
    if not questions:
        raise UserError(f"{name} holds no question; take it from {RELEASE.origin}")
    return questions


def _require_complete(path: Path) -> None:
    labels = Counter(question.label for question in _read(path))
    if labels != {"yes": ROWS // 2, "no": ROWS // 2}:
        raise UserError(
            f"what was downloaded has {dict(labels)} questions by label instead of {ROWS // 2} "
            f"each; set {DATA_VARIABLE} to a folder with the files of {RELEASE.origin}"
        )


def _read(path: Path) -> list[Question]:
    questions: list[Question] = []
    for row in json_rows(path):
        try:
            question = Question(
                int(row["question_id"]), row["image"], row["text"], row["label"].strip().lower()
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: row {len(questions)} lacks question_id, image, text or label "
                f"({type(error).__name__}: {error}); take the file from {RELEASE.origin}"
            ) from error
        if question.label not in ("yes", "no"):
            raise UserError(f"{path}: label of row {len(questions)} is {question.label!r}")
        questions.append(question)
    return questions

"""MMHal-Bench's questions, from the folder that ``MMHAL_ROOT`` names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from lmms_causal.errors import UserError
from lmms_causal.tasks.released import Release, json_rows

__all__ = ["DATA_VARIABLE", "RELEASE", "TYPES", "Question", "read_questions"]

DATA_VARIABLE = "MMHAL_ROOT"
FILE = "response_template.json"
RELEASE = Release(
    "mmhal", DATA_VARIABLE, f"https://huggingface.co/datasets/Shengcao1006/MMHal-Bench ({FILE})"
)
TYPES = (
    *("attribute", "adversarial", "comparison", "counting"),
    *("relation", "environment", "holistic", "other"),
)
"""The types of question, in the order in which the release takes turns with them."""


@dataclass(frozen=True)
class Question:
    """One question: its type, its picture file, what is in the picture and the human answer."""

    number: int
    kind: str
    picture: str
    contents: tuple[str, ...]
    text: str
    reference: str


def read_questions() -> list[Question]:
    """All questions, in the order of the release.

    Raises:
        UserError: no data, or a row that lacks something.
    """
    path = RELEASE.locate(FILE)
    questions: list[Question] = []
    for number, row in enumerate(json_rows(path)):
        try:
            kind = str(row.get("question_type", "")).strip().lower()
            picture = PurePosixPath(urlsplit(row["image_src"]).path).name
            if not picture or not row["question"].strip() or not row["gt_answer"].strip():
                raise ValueError("an empty field")
            questions.append(
                Question(
                    number,
                    kind if kind in TYPES else TYPES[number % len(TYPES)],
                    picture,
                    tuple(row["image_content"]),
                    row["question"].strip(),
                    row["gt_answer"].strip(),
                )
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: row {number} is no question of MMHal-Bench ({type(error).__name__}: "
                f"{error}); take the file from {RELEASE.origin}"
            ) from error
    if not questions:
        raise UserError(f"{path} holds no question; take the file from {RELEASE.origin}")
    return questions

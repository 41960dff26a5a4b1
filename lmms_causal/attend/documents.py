"""What is asked and, if it is given, answered: one document, or a file of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image

from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions.analysis.anchors import Rollout
from lmms_causal.models.media import UNREADABLE
from lmms_causal.tasks.pictures import truncation_is_an_error

__all__ = ["Document", "check_pictures", "read_documents"]


@dataclass(frozen=True)
class Document:
    """A prompt, and what else is known about it.

    Attributes:
        id: its name, unique in a run.
        prompt: the user's words.
        images: files of pictures, shown before the words.
        system: a system prompt.
        response: the answer to analyse; None to let the model write one.
        needle: words of the prompt that the answer is to repeat, for retrieval scores.
        rollouts: ``R_0 .. R_S``: continuations sampled before each sentence of the answer, and
            perhaps behind the last, for the importance of sentences.
    """

    id: str
    prompt: str
    images: tuple[str, ...] = ()
    system: str | None = None
    response: str | None = None
    needle: str | None = None
    rollouts: tuple[tuple[Rollout, ...], ...] = ()

    def messages(self) -> list[dict[str, Any]]:
        """Return the conversation, with typed parts."""
        content: list[dict[str, Any]] = [{"type": "image", "image": it} for it in self.images]
        content.append({"type": "text", "text": self.prompt})
        turns = [{"role": "user", "content": content}]
        if self.system is not None:
            turns.insert(0, {"role": "system", "content": [{"type": "text", "text": self.system}]})
        return turns


_FIELDS = (*(field.name for field in fields(Document)), "image")


def read_documents(file: Path) -> list[Document]:
    """Read documents from a file of JSON lines.

    Each line is an object with ``prompt`` and, as needed, ``id`` (by default the line's number),
    ``image`` or ``images`` (paths relative to the file), ``system``, ``response``, ``needle``, and
    ``rollouts``: a list for every sentence of the response, of objects with ``sentence``,
    ``answer``, and if known ``correct`` and ``sentences``.

    Raises:
        UserError: the file or a line cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(
            f"--documents {file}: cannot be read ({error.strerror}); give the path of a file of "
            "JSON lines"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"--documents {file}: is no text in UTF-8 ({error.reason}); give a file of JSON lines"
        ) from None
    made = [
        _document(line, number, file) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    if not made:
        raise UserError(f"--documents {file}: there is no document in it")
    seen: set[str] = set()
    for document in made:
        if document.id in seen:
            raise UserError(f"--documents {file}: two documents have the id {document.id!r}")
        seen.add(document.id)
    return made


def check_pictures(files: Iterable[str], where: str) -> None:
    """Open every picture, and let go of it: before a model is loaded for nothing.

    Raises:
        UserError: one is missing or cannot be read; ``where`` says who names it.
    """
    for file in files:
        if not Path(file).is_file():
            raise UserError(f"{where} {file}: there is no such file; give the path of a picture")
        try:
            with truncation_is_an_error(), Image.open(file) as picture:
                picture.load()
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"{where} {file}: is no picture that can be read ({reason}); replace the file"
            ) from None


def _document(line: str, number: int, file: Path) -> Document:
    where = f"--documents {file}, line {number}"
    try:
        given = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: must be an object with the field prompt")
    for name in given:
        if name not in _FIELDS:
            raise UserError(
                f"{where}: unknown field {name!r}{nearest(name, _FIELDS)}; known are "
                f"{', '.join(_FIELDS)}"
            )
    for name in ("prompt", "system", "response", "needle"):
        if not isinstance(given.get(name, ""), str):
            raise UserError(f"{where}: {name} must be text")
    if not given.get("prompt"):
        raise UserError(f"{where}: the field prompt is missing or empty")
    images = given.get("images", given.get("image", []))
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(isinstance(it, str) for it in images):
        raise UserError(f"{where}: images must be a list of files")
    return Document(
        id=str(given.get("id", number)),
        prompt=given["prompt"],
        images=tuple(str(file.parent / it) for it in images),
        system=given.get("system"),
        response=given.get("response"),
        needle=given.get("needle"),
        rollouts=_rollouts(given.get("rollouts", []), where),
    )


def _rollouts(given: Any, where: str) -> tuple[tuple[Rollout, ...], ...]:
    try:
        return tuple(
            tuple(
                Rollout(
                    str(it["sentence"]),
                    str(it["answer"]),
                    it.get("correct"),
                    tuple(it.get("sentences", ())),
                )
                for it in group
            )
            for group in given
        )
    except (TypeError, KeyError, AttributeError):
        raise UserError(
            f"{where}: rollouts must be a list, for each sentence, of objects with sentence and "
            "answer"
        ) from None

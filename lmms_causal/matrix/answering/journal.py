"""A cell's journal: every answer on disk as soon as it is given, and found again after a crash.

Each rank of each attempt appends to a file of its own, ``FOLDER/journal/<attempt>.<rank>.jsonl``,
so that a line torn by a kill is the last one of its file and spoils no other. Four kinds of lines:

    {"checking": n, "time": t}                                inputs are looked at
    {"begin": verb, "requests": n, "known": k, "time": t}     a call of the harness
    {"key": k, "task": name, "doc": id, "answer": {...}}      one answer
    {"chunk": documents, "answers": n, "time": t, "seconds": s, "cost": {...}}

The answers of a chunk and the line that closes it are one write, followed by ``fsync``. Answers
count once their chunk is closed: part of a chunk would be completed in another batch than it had.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.matrix.keeping.files import sync_folder

__all__ = ["ATTEMPT", "Journal", "new_attempt", "read_lines"]

ATTEMPT = "LMMS_CAUSAL_ATTEMPT"
"""Environment variable with the name that the ranks of an attempt share."""


def new_attempt() -> str:
    """Return a name for an attempt; names sort by time."""
    return f"{time.time_ns()}-{os.getpid()}"


class Journal:
    """The answers of a cell, all ranks and attempts; and the file this process adds to.

    Attributes:
        answers: encoded answer by request key.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self._folder = folder
        self._rank = rank
        self._stream: int | None = None
        self.answers: dict[str, Any] = {}
        for file in self.files():
            chunk: list[dict[str, Any]] = []
            for line in read_lines(file):
                if "key" in line:
                    chunk.append(line)
                elif "chunk" in line:
                    if len(chunk) == line["answers"]:
                        for kept in chunk:
                            self.answers.setdefault(kept["key"], kept["answer"])
                    chunk = []

    def files(self) -> list[Path]:
        """Return the files of all attempts and ranks, oldest attempt first."""
        return sorted(self._folder.glob("*.jsonl"))

    def costs(self) -> list[dict[str, Any]]:
        """Return what every chunk cost, over all attempts and ranks, read anew."""
        return [
            line["cost"]
            for file in self.files()
            for line in read_lines(file)
            if "chunk" in line and line.get("cost") is not None
        ]

    def check(self, requests: int) -> None:
        """Note that so many requests are checked before the first of them is answered."""
        self._write([{"checking": requests, "time": time.time()}])

    def begin(self, verb: str, requests: int, known: int) -> None:
        """Note that the harness asks for so many answers, of which so many are known."""
        self._write([{"begin": verb, "requests": requests, "known": known, "time": time.time()}])

    def add(self, answers: Iterable[dict[str, Any]], chunk: dict[str, Any]) -> None:
        """Write the answers of a chunk, and what it cost; on disk when this returns.

        Raises:
            UserError: they cannot be written, on a full disk for example. None of them count then.
        """
        answers = list(answers)
        self._write([*answers, {**chunk, "answers": len(answers), "time": time.time()}])
        self.answers.update((line["key"], line["answer"]) for line in answers)

    def close(self) -> None:
        """Close this process's file."""
        if self._stream is not None:
            os.close(self._stream)
            self._stream = None

    def _write(self, lines: Iterable[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        # Half a surrogate pair, which an API may answer, goes through JSON but not through UTF-8.
        data = text.encode("utf-8", "surrogatepass")
        try:
            if self._stream is None:
                self._stream = self._create()
            before = os.fstat(self._stream).st_size
            try:
                while data:
                    data = data[os.write(self._stream, data) :]
                os.fsync(self._stream)
            except OSError:
                with suppress(OSError):  # nothing of it, or the next line would be joined to half
                    os.ftruncate(self._stream, before)
                raise
        except OSError as error:
            raise UserError(
                f"{self._folder}: answers cannot be written ({error.strerror}); those from before "
                "are kept, and the same command goes on with them"
            ) from None

    def _create(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{os.environ.get(ATTEMPT) or new_attempt()}.{self._rank}"
        if (again := os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) != "0":
            name += f"-{again}"  # the launcher has started its ranks anew within the attempt
        # O_EXCL: two processes that take themselves for the same rank are both told to do it all.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        stream = os.open(self._folder / f"{name}.jsonl", flags, 0o666)
        sync_folder(self._folder)
        sync_folder(self._folder.parent)
        return stream


def read_lines(file: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a journal from byte `start` on; a torn last line is left out."""
    with file.open("rb") as stream:
        stream.seek(start)
        for line in stream:
            if not line.endswith(b"\n"):
                return
            try:
                value = json.loads(line)
            except ValueError:  # torn by a crash of the machine, not of the process
                return
            if not isinstance(value, dict):
                return
            yield value

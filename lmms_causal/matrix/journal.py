"""A cell's journal: every answer on disk as soon as it is given, and found again after a crash.

Each rank of each attempt appends to a file of its own, ``FOLDER/journal/<attempt>.<rank>.jsonl``,
so that a line torn by a kill is the last one of its file and spoils no other. Three kinds of lines:

    {"begin": verb, "requests": n, "known": k, "time": t}     a call of the harness
    {"key": k, "task": name, "doc": id, "answer": {...}}      one answer
    {"chunk": documents, "answers": n, "time": t, "seconds": s, "cost": {...}}

The answers of a chunk and the line that closes it are one write, followed by ``fsync``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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
            for line in read_lines(file):
                if "key" in line:
                    self.answers.setdefault(line["key"], line["answer"])

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

    def begin(self, verb: str, requests: int, known: int) -> None:
        """Note that the harness asks for so many answers, of which so many are known."""
        self._write([{"begin": verb, "requests": requests, "known": known, "time": time.time()}])

    def add(self, answers: Iterable[dict[str, Any]], chunk: dict[str, Any]) -> None:
        """Write the answers of a chunk, and what it cost; on disk when this returns."""
        answers = list(answers)
        self._write([*answers, {**chunk, "answers": len(answers), "time": time.time()}])
        self.answers.update((line["key"], line["answer"]) for line in answers)

    def close(self) -> None:
        """Close this process's file."""
        if self._stream is not None:
            os.close(self._stream)
            self._stream = None

    def _write(self, lines: Iterable[dict[str, Any]]) -> None:
        if self._stream is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            attempt = os.environ.get(ATTEMPT) or new_attempt()
            name = f"{attempt}.{self._rank}.jsonl"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._stream = os.open(self._folder / name, flags, 0o644)
        data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        while data:
            data = data[os.write(self._stream, data) :]
        os.fsync(self._stream)


def read_lines(file: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a journal from byte `start` on; a torn last line is left out."""
    with file.open("rb") as stream:
        stream.seek(start)
        for line in stream:
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError:  # torn by a crash of the machine, not of the process
                return

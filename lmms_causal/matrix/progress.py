"""How far a matrix is, how long the rest will take, and what it will cost."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from lmms_causal.matrix.planning.cells import Cell

__all__ = ["Estimates", "Measured", "Progress", "Reader", "duration"]

_EVERY = 30.0  # seconds between lines where there is no terminal


class Reader:
    """Follows the journal of a running cell.

    Attributes:
        requests: answers that the cell's ranks ask for in all, as far as they have said so.
        known: of these, answered by earlier attempts.
        answered: in this attempt.
        documents: answered in this attempt, whole.
        checking: requests whose inputs are looked at before the first is answered.
        started: time at which it was made, just before the cell's process.
        first: time at which this attempt began to answer; None before.
        last: time of its last answer.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._old = set(folder.glob("*.jsonl"))
        self._positions: dict[Path, int] = {}
        self.requests = self.known = self.answered = self.documents = self.checking = 0
        self.started = time.time()
        self.first: float | None = None
        self.last: float | None = None

    def update(self) -> None:
        """Read what was added."""
        for file in set(self._folder.glob("*.jsonl")) - self._old:
            start = self._positions.get(file, 0)
            with file.open("rb") as stream:
                stream.seek(start)
                data = stream.read()
            whole = data[: data.rfind(b"\n") + 1]  # a line that is being written waits
            self._positions[file] = start + len(whole)
            for line in whole.split(b"\n"):
                with suppress(ValueError):  # a line that the disk spoilt tells nothing
                    if isinstance(value := json.loads(line), dict):
                        self._add(value)

    def _add(self, line: dict[str, Any]) -> None:
        if "begin" in line:
            self.requests += int(line["requests"])
            self.known += int(line["known"])
            began = float(line["time"])
            self.first = began if self.first is None else min(self.first, began)
        elif "checking" in line:
            self.checking += int(line["checking"])
        elif "chunk" in line:
            self.answered += int(line["answers"])
            self.documents += int(line["chunk"])
            self.last = float(line["time"])


@dataclass
class Measured:
    """What a cell took, or is going to take by what it did so far.

    Attributes:
        documents: of the cell.
        seconds: to answer them.
        start: seconds before the first was asked.
    """

    cell: Cell
    documents: int
    seconds: float
    start: float


class Estimates:
    """Predicts cells from those that ran: seconds a document, documents a task, start-up.

    A cell that was not measured is predicted from others of its model, of its task if there are
    any, in proportion to the passes a token takes at most. Methods that decode all branches in one
    batch take less, so a first estimate errs on the long side.
    """

    def __init__(self) -> None:
        self._cells: list[Measured] = []

    def add(self, measured: Measured) -> None:
        """Add a cell that has ended; one without documents tells nothing."""
        if measured.documents:
            self._cells.append(measured)

    def seconds(self, cells: Sequence[Cell], running: Measured) -> float:
        """Predict the time of cells that have not been started, from the running one as well."""
        known = [*self._cells, running]
        return sum(_predicted(cell, known) for cell in cells)


def _predicted(cell: Cell, known: Sequence[Measured]) -> float:
    same_task = [m for m in known if m.cell.task == cell.task]
    same_model = [m for m in known if m.cell.model == cell.model]
    both = [m for m in same_task if m in same_model]
    documents = fmean(m.documents for m in same_task or known)
    rate = fmean(
        m.seconds / m.documents / m.cell.variant.passes
        for m in both or same_model or same_task or known
    )
    start = fmean(m.start for m in same_model or known)
    return start + documents * rate * cell.variant.passes


class Progress:
    """One status line on a terminal; elsewhere a line now and then.

    Args:
        total: cells of the matrix.
        processes: of each cell, for the cost.
        price: of an hour of one process, in any currency; None for none.
    """

    def __init__(
        self, total: int, processes: int, price: float | None, stream: TextIO | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._total = total
        self._processes = processes
        self._price = price
        self._spoken = 0.0
        self._estimated = False
        self._open = False
        self.estimates = Estimates()

    def say(self, text: str) -> None:
        """Print a line of its own."""
        if self._open:
            self._stream.write("\r\033[K")
            self._open = False
        print(text, file=self._stream, flush=True)

    def show(self, number: int, cell: Cell, reader: Reader, rest: Sequence[Cell]) -> None:
        """Show how far the running cell is; say what is left once it has answered documents."""
        text = f"[{number}/{self._total}] {cell.title}: "
        if reader.first is None:
            checking = reader.checking
            self._status(text + (f"checking {checking} inputs" if checking else "starting"))
            return
        done = reader.known + reader.answered
        text += f"{done}/{reader.requests} answers"
        if reader.answered and reader.last is not None:
            elapsed = max(reader.last - reader.first, 1e-3)
            left = (reader.requests - done) * elapsed / reader.answered
            text += f", {reader.answered / elapsed:.3g}/s, {duration(left)} left"
            documents = max(1, round(reader.documents * reader.requests / reader.answered))
            seconds = documents * elapsed / max(1, reader.documents)
            start = reader.first - reader.started
            others = self.estimates.seconds(rest, Measured(cell, documents, seconds, start))
            if rest:
                text += f"; matrix about {duration(left + others)}{self._cost(left + others)}"
            if not self._estimated and reader.documents >= 2:
                self._estimated = True
                self.say(
                    f"after the first documents: about {duration(left + others)} for what is left"
                    f"{self._cost(left + others)}"
                )
        self._status(text)

    def _cost(self, seconds: float) -> str:
        if self._price is None:
            return ""
        cost = seconds / 3600 * self._processes * self._price
        return f", cost about {cost:.3g} (at {self._price:g} an hour and process)"

    def _status(self, text: str) -> None:
        if self._stream.isatty():
            self._stream.write(f"\r\033[K{text[:150]}")
            self._stream.flush()
            self._open = True
        elif time.monotonic() - self._spoken > _EVERY:
            self._spoken = time.monotonic()
            print(text, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Return a time as people say it: ``40 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"

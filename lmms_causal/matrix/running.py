"""Evaluate the cells that are not done, one after the other, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lmms_causal.errors import UserError
from lmms_causal.matrix.answering.journal import ATTEMPT, new_attempt
from lmms_causal.matrix.cell import PARENT, RANKS, process_name
from lmms_causal.matrix.keeping.files import (
    clear_away,
    digest_file,
    read_json,
    unwritable,
    write_json,
)
from lmms_causal.matrix.keeping.locking import Lock
from lmms_causal.matrix.keeping.sources import Sources
from lmms_causal.matrix.planning.cells import Cell
from lmms_causal.matrix.progress import Measured, Progress, Reader, duration

__all__ = ["Outcome", "is_done", "run_cells"]

_POLL = 0.2  # seconds
_GRACE = 10.0  # seconds for the processes of a run that was killed to end


@dataclass
class Outcome:
    """What became of the cells.

    Attributes:
        failed: title and reason of each that ended without results.
        taken: titles of those that another run is evaluating.
    """

    failed: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)


def is_done(cell: Cell) -> bool:
    """Whether a cell has its results, as they were written."""
    done = read_json(cell.folder / "done.json")
    files = (done or {}).get("files") or {}
    return bool(files) and all(
        (cell.folder / name).is_file() and digest_file(cell.folder / name) == digest
        for name, digest in files.items()
    )


def run_cells(cells: Sequence[Cell], progress: Progress) -> Outcome:
    """Run what is not done; a cell that fails costs itself only.

    Cells that another run holds are left for last, and then left to it.

    Raises:
        UserError: the folder cannot be written to; that would stop every other cell as well.
    """
    outcome = Outcome()
    # Of cells that share a folder the first: the plan's own name, before that of a curve's point.
    by_folder: dict[Path, Cell] = {}
    for cell in cells:
        by_folder.setdefault(cell.folder, cell)
    distinct = list(by_folder.values())
    waiting = [cell for cell in distinct if not is_done(cell)]
    if len(waiting) < len(distinct):
        progress.say(f"{len(distinct) - len(waiting)} of {len(distinct)} cells are done already")
    deadline = None
    while waiting:
        held = []
        for index, cell in enumerate(waiting):
            lock = _take(cell)
            if lock is None:
                held.append(cell)
                continue
            try:
                if not is_done(cell):  # another run may have been faster
                    rest = [*waiting[index + 1 :], *held]
                    number = len(distinct) - len(rest)
                    if reason := _run(cell, lock, number, rest, progress):
                        outcome.failed[cell.title] = reason
                    deadline = None
            finally:
                lock.release()
        if len(held) == len(waiting):
            deadline = deadline or time.monotonic() + _GRACE
            if time.monotonic() > deadline:
                outcome.taken = [cell.title for cell in held]
                break
            time.sleep(_POLL)
        waiting = held
    return outcome


def _take(cell: Cell) -> Lock | None:
    """Return the cell's lock; None while a run has it, or processes of one that was killed live.

    A launcher holds the lock but does not hand it down; its ranks share one of their own.
    """
    lock = Lock.take(cell.folder / "lock")
    if lock is None:
        return None
    ranks = Lock.take(cell.folder / RANKS)
    if ranks is None:
        lock.release()
        return None
    ranks.release()
    return lock


def _run(
    cell: Cell, lock: Lock, number: int, rest: Sequence[Cell], progress: Progress
) -> str | None:
    """Evaluate one cell; returns why it failed, or None."""
    _clear(cell)
    sources = Sources().of(cell)  # before the harness reads them: a change meanwhile shows later
    about = {**cell.identity, "command": cell.command(), "sources": sources}
    write_json(cell.folder / "cell.json", about)
    reader = Reader(cell.folder / "journal")
    environment = {
        **os.environ,
        **dict(cell.environment),
        PARENT: process_name(os.getpid()),
        ATTEMPT: new_attempt(),
        "TQDM_DISABLE": os.environ.get("TQDM_DISABLE", "1"),  # the log is a file
    }
    log_file = cell.folder / "log.txt"
    started = time.time()
    try:
        with log_file.open("ab", buffering=0) as log:
            log.write(f"\n# attempt of {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            begin = log.tell()
            try:
                process = subprocess.Popen(
                    cell.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=() if os.name == "nt" else (lock.descriptor,),
                )
            except OSError as error:
                return f"cannot start {cell.command()[0]} ({error.strerror})"
    except OSError as error:
        raise UserError(f"{log_file}: cannot be written ({error.strerror})") from None
    code = _wait(process, number, cell, reader, rest, progress)
    reader.update()
    files = _files(cell)
    if code or not any("sample" in Path(name).name for name in files):
        reason = _reason(log_file, begin, code)
        progress.say(f"[{number}] {cell.title}: FAILED: {reason}")
        return reason
    seconds = time.time() - started
    first = reader.first or started
    answering = (reader.last or first) - first
    progress.estimates.add(Measured(cell, reader.documents, answering, seconds - answering))
    attempts = len({file.name.partition(".")[0] for file in (cell.folder / "journal").glob("*")})
    done = {"files": files, "attempts": attempts, "seconds": round(seconds, 3)}
    write_json(
        cell.folder / "done.json", {**done, "answered_now": reader.answered, "sources": sources}
    )
    progress.say(
        f"[{number}] {cell.title}: done, {reader.known + reader.answered} answers"
        + (f" ({reader.known} kept from before)" if reader.known else "")
        + f", {duration(seconds)}"
    )
    return None


def _wait(
    process: subprocess.Popen[bytes],
    number: int,
    cell: Cell,
    reader: Reader,
    rest: Sequence[Cell],
    progress: Progress,
) -> int:
    try:
        while True:
            try:
                return process.wait(_POLL)
            except subprocess.TimeoutExpired:
                reader.update()
                progress.show(number, cell, reader, rest)
    except BaseException:  # asked to stop: what was answered is on disk
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def _clear(cell: Cell) -> None:
    """Delete what an attempt that ended while writing has left; two of them could not be compared.

    What it was that was done goes first, so that nothing is done without its files.
    """
    try:
        (cell.folder / "done.json").unlink(missing_ok=True)
        if cell.results.exists():
            shutil.rmtree(cell.results)
    except OSError as error:
        raise UserError(f"{cell.results}: cannot be deleted ({error.strerror})") from None
    clear_away(cell.folder)


def _files(cell: Cell) -> dict[str, str]:
    """The harness's files and their digests."""
    found = sorted(file for file in cell.results.rglob("*") if file.is_file())
    return {file.relative_to(cell.folder).as_posix(): digest_file(file) for file in found}


def _reason(log: Path, begin: int, code: int) -> str:
    """The line of a log that says what went wrong, as well as one can tell."""
    with log.open("rb") as stream:
        stream.seek(begin)
        text = stream.read().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    if full := unwritable(log.parent):  # then the log may not say so
        return f"{log.parent}: cannot be written ({full}); what was answered before is kept"
    named = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    return f"{named[-1] if named else _ended(code)}; see {log}"


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed ({name})" + (", out of memory perhaps" if name == "SIGKILL" else "")

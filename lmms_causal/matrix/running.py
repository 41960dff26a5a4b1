"""Evaluate the cells that are not done, one after the other, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lmms_causal.matrix.cell import PARENT
from lmms_causal.matrix.cells import Cell
from lmms_causal.matrix.journal import ATTEMPT, new_attempt
from lmms_causal.matrix.locking import Lock
from lmms_causal.matrix.manifest import digest_file, read_json, write_json
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
    return done is not None and all(
        (cell.folder / name).is_file() and digest_file(cell.folder / name) == digest
        for name, digest in done["files"].items()
    )


def run_cells(cells: Sequence[Cell], progress: Progress) -> Outcome:
    """Run what is not done; a cell that fails costs itself only.

    Cells that another run holds are left for last, and then left to it.
    """
    outcome = Outcome()
    distinct = list({cell.folder: cell for cell in cells}.values())
    waiting = [cell for cell in distinct if not is_done(cell)]
    if len(waiting) < len(distinct):
        progress.say(f"{len(distinct) - len(waiting)} of {len(distinct)} cells are done already")
    deadline = None
    while waiting:
        held = []
        for index, cell in enumerate(waiting):
            lock = Lock.take(cell.folder / "lock")
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


def _run(
    cell: Cell, lock: Lock, number: int, rest: Sequence[Cell], progress: Progress
) -> str | None:
    """Evaluate one cell; returns why it failed, or None."""
    shutil.rmtree(cell.results, ignore_errors=True)  # of an attempt that ended while writing
    write_json(cell.folder / "cell.json", {**cell.identity, "command": cell.command()})
    reader = Reader(cell.folder / "journal")
    environment = {
        **os.environ,
        **dict(cell.environment),
        PARENT: f"{socket.gethostname()}:{os.getpid()}",
        ATTEMPT: new_attempt(),
        "TQDM_DISABLE": os.environ.get("TQDM_DISABLE", "1"),  # the log is a file
    }
    started = time.time()
    with (cell.folder / "log.txt").open("ab") as log:
        log.write(f"\n# attempt of {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        log.flush()
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
        code = _wait(process, number, cell, reader, rest, progress)
    reader.update()
    files = _files(cell)
    if code or not any("sample" in name for name in files):
        reason = _reason(cell.folder / "log.txt", begin, code)
        progress.say(f"[{number}] {cell.title}: FAILED: {reason}")
        return reason
    seconds = time.time() - started
    first = reader.first or started
    answering = (reader.last or first) - first
    progress.estimates.add(Measured(cell, reader.documents, answering, seconds - answering))
    attempts = len({file.name.partition(".")[0] for file in (cell.folder / "journal").glob("*")})
    done = {"files": files, "attempts": attempts, "seconds": round(seconds, 3)}
    write_json(cell.folder / "done.json", {**done, "answered_now": reader.answered})
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
    except BaseException:  # Ctrl-C: what was answered is on disk
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise


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
    named = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    what = named[-1] if named else f"ended with code {code}"
    return f"{what}; see {log}"

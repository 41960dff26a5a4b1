"""Run the evaluations of a recipe, each in a process of its own, and keep what is finished."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmms_causal.compare.reading.integrity import require_consistent
from lmms_causal.compare.reading.locate import load_results
from lmms_causal.compare.reading.read import read_run
from lmms_causal.compare.records import Run
from lmms_causal.errors import UserError
from lmms_causal.interventions.spec import parse
from lmms_causal.matrix.keeping.files import write_json
from lmms_causal.reproduce.commands import Job

__all__ = ["Runs", "execute", "run_all"]

_RECORD = "command.json"
_REASON = re.compile(r"\s*([\w.]*(Error|Exception|Interrupt)\b|error: |.*\| ERROR )")

Runs = dict[tuple[str, int], Run]
"""Finished evaluations by setting and seed."""


def run_all(jobs: Sequence[Job], say: Callable[[str], None] = print) -> Runs:
    """Run what is not finished yet, in the order given, and read all results.

    Raises:
        UserError: an evaluation failed; a folder holds one with another command, or files that do
            not fit each other.
    """
    runs: Runs = {}
    for job in jobs:  # all of them, before the first hour of work
        _check_folder(job)
        if _finished(job):
            runs[job.setting, job.seed] = _read(job)
    for place, job in enumerate(jobs, start=1):
        say(f"[{place}/{len(jobs)}] $ {shlex.join(job.command)}")
        if (job.setting, job.seed) in runs:
            say(f"      finished before, in {job.folder}")
            continue
        _begin(job)
        log = job.folder / "log.txt"
        execute(job.command, log)
        if not _results(job.folder):  # lmms-eval may end with code 0 after an error
            raise UserError(f"{log}: the evaluation ended without results: {_reason(log)}")
        _record(job, finished=True)
        runs[job.setting, job.seed] = _read(job)
    return {(job.setting, job.seed): runs[job.setting, job.seed] for job in jobs}


def _read(job: Job) -> Run:
    """The results of a finished evaluation, if its files fit each other and the job."""
    try:
        run = read_run(_results(job.folder)[-1])
        require_consistent(run, load_results(run.path))
        if str(parse(run.interventions)) != str(parse(job.interventions)):
            raise UserError(
                f"{run.path}: evaluated with interventions={run.interventions or 'none'}, not "
                f"{job.interventions}"
            )
    except UserError as error:
        raise UserError(
            f"{error}; to have this command evaluate again, remove {job.folder}"
        ) from None
    return run


def execute(command: Sequence[str], log: Path) -> None:
    """Run a command with this environment's programs, its output into a file.

    Raises:
        UserError: a non-zero exit code; the message ends with what the output says of it.
    """
    program = Path(sys.executable).with_name(command[0])
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            [str(program), *command[1:]],
            env={"TOKENIZERS_PARALLELISM": "false", **os.environ},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise UserError(f"{log}: {command[0]} ended with code {done.returncode}: {_reason(log)}")


def _check_folder(job: Job) -> None:
    record = _recorded(job)
    if record is not None and record["command"] is None:
        raise UserError(
            f"{job.folder / _RECORD}: cannot be read; choose another --output, or remove the folder"
        )
    if record is not None and record["command"] != list(job.command):
        raise UserError(
            f"{job.folder}: holds an evaluation with another command (command.json); choose "
            "another --output, or remove the folder"
        )
    if record is None and _results(job.folder):
        raise UserError(
            f"{job.folder}: holds results of which this command knows nothing; choose another "
            "--output, or remove the folder"
        )


def _begin(job: Job) -> None:
    """A folder that says what it is for; leftovers of this very command are removed.

    The record comes first and stays: a kill at any time leaves none of the command's files without
    it, so that the next call knows them for its own.
    """
    leftovers = list(job.folder.iterdir()) if _recorded(job) is not None else []
    _record(job, finished=False)
    # An interrupted evaluation may have written its results, but not all of its samples.
    for leftover in leftovers:
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        elif leftover.name != _RECORD:
            leftover.unlink()


def _record(job: Job, finished: bool) -> None:
    write_json(job.folder / _RECORD, {"command": list(job.command), "finished": finished})


def _recorded(job: Job) -> dict[str, Any] | None:
    """What `_record` wrote; None where it has written nothing."""
    record = job.folder / _RECORD
    if not record.is_file():
        return None
    try:
        value = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        value = None
    if isinstance(value, list):  # an older form: the command alone, written once it was finished
        value = {"command": value, "finished": True}
    if isinstance(value, dict) and {"command", "finished"} <= value.keys():
        return value
    return {"command": None, "finished": False}


def _finished(job: Job) -> bool:
    record = _recorded(job)
    return record is not None and record["finished"] is True and bool(_results(job.folder))


def _results(folder: Path) -> list[Path]:
    """Results files of either harness below a folder, the newest last."""
    found = [*folder.rglob("*_results.json"), *folder.rglob("results_*.json")]
    return sorted(found, key=lambda file: file.stat().st_mtime_ns)


def _reason(log: Path) -> str:
    """The last line of the output that names an error, else its last line."""
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if _REASON.match(line)]
    return (named or lines or ["no output"])[-1]

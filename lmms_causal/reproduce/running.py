"""Run the evaluations of a recipe, each in a process of its own, and keep what is finished."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lmms_causal.compare.read import read_run
from lmms_causal.compare.records import Run
from lmms_causal.errors import UserError
from lmms_causal.reproduce.commands import Job

__all__ = ["Runs", "execute", "run_all"]

_RECORD = "command.json"
_TAIL = 3000  # characters of a failed evaluation's output that are shown

Runs = dict[tuple[str, int], Run]
"""Finished evaluations by setting and seed."""


def run_all(jobs: Sequence[Job], say: Callable[[str], None] = print) -> Runs:
    """Run what is not finished yet, in the order given, and read all results.

    Raises:
        UserError: an evaluation failed, or a folder holds one with another command.
    """
    for job in jobs:
        _check_folder(job)  # all of them, before the first hour of work
    runs: Runs = {}
    for place, job in enumerate(jobs, start=1):
        say(f"[{place}/{len(jobs)}] $ {shlex.join(job.command)}")
        if _finished(job):
            say(f"      finished before, in {job.folder}")
        else:
            job.folder.mkdir(parents=True, exist_ok=True)
            log = job.folder / "log.txt"
            execute(job.command, log)
            if not _results(job.folder):  # lmms-eval may end with code 0 after an error
                raise UserError(f"{log}: the evaluation ended without results:\n{_tail(log)}")
            record = json.dumps(list(job.command), indent=1)
            (job.folder / _RECORD).write_text(f"{record}\n", encoding="utf-8")
        runs[job.setting, job.seed] = read_run(_results(job.folder)[-1])
    return runs


def execute(command: Sequence[str], log: Path) -> None:
    """Run a command with this environment's programs, its output into a file.

    Raises:
        UserError: a non-zero exit code; the message ends with the last lines of the output.
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
        raise UserError(f"{log}: {command[0]} ended with code {done.returncode}:\n{_tail(log)}")


def _check_folder(job: Job) -> None:
    record = job.folder / _RECORD
    if record.is_file() and _recorded(record) != list(job.command):
        raise UserError(
            f"{job.folder}: holds an evaluation with another command (command.json); choose "
            "another --output, or remove the folder"
        )
    if not record.is_file() and _results(job.folder):
        raise UserError(
            f"{job.folder}: holds results of which this command knows nothing; choose another "
            "--output"
        )


def _recorded(record: Path) -> list[str] | None:
    try:
        value = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, list) else None


def _finished(job: Job) -> bool:
    return (job.folder / _RECORD).is_file() and bool(_results(job.folder))


def _results(folder: Path) -> list[Path]:
    """Results files of either harness below a folder, the newest last."""
    found = [*folder.rglob("*_results.json"), *folder.rglob("results_*.json")]
    return sorted(found, key=lambda file: file.stat().st_mtime_ns)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()

"""Our task names: which tasks a group stands for, and whether a task's data is at hand.

The names are those of the task files, so the catalogue cannot disagree with what the harnesses
find. A benchmark that needs data from outside has a module ``fetching`` with ``check`` and
``fetch_all``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

import yaml

from lmms_causal.errors import UserError, nearest
from lmms_causal.tasks import HARNESSES, roots

__all__ = ["check", "fetch_all", "members", "names"]


def names(harness: str | None = None) -> tuple[str, ...]:
    """Every task and group of ours, in one harness or in any."""
    return tuple(sorted(_files(harness)))


def members(name: str) -> tuple[str, ...]:
    """The tasks that a name stands for: a group's, or the task itself.

    Raises:
        UserError: no task or group of ours; the message has the nearest names.
    """
    path = _file_of(name)
    lines = path.read_text(encoding="utf-8").splitlines()
    if not any(line.startswith("group:") for line in lines):
        return (name,)
    # A group file names no function, so the safe loader reads it.
    return tuple(yaml.safe_load("\n".join(lines))["task"])


def check(wanted: Iterable[str]) -> None:
    """Raise a `UserError` if the data of one of these tasks is not at hand.

    Names that are not ours are left to their harness. No picture is opened or downloaded, so this
    is what to run before a model is loaded.
    """
    for name in wanted:
        for task in members(name) if name in _files(None) else ():
            if module := _fetching(task):
                module.check(task)


def fetch_all(name: str, *, progress: bool = True) -> list[str]:
    """Fetch everything the task or group needs; one line of report per task.

    Raises:
        UserError: unknown name, or data that cannot be had.
    """
    report = []
    for task in members(name):
        module = _fetching(task)
        report.append(
            module.fetch_all(task, progress=progress) if module else f"{task}: needs no data"
        )
    return report


def _fetching(task: str) -> ModuleType | None:
    module = f"lmms_causal.tasks.{_file_of(task).parent.name}.fetching"
    return importlib.import_module(module) if importlib.util.find_spec(module) else None


def _file_of(name: str) -> Path:
    files = _files(None)
    if name not in files:
        hint = nearest(name, files) or f"; there are {', '.join(files)}"
        raise UserError(f"no task or group {name!r} in lmms-causal{hint}")
    return files[name]


@cache
def _files(harness: str | None) -> dict[str, Path]:
    chosen = HARNESSES if harness is None else (harness,)
    return {
        path.stem: path
        for one in chosen
        for path in sorted(roots(one).glob("*/*.yaml"))
        if not path.stem.startswith("_")
    }

"""Names of tasks, groups and tags, read from task files without importing a harness."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lmms_causal.errors import UserError, nearest
from lmms_causal.tasks import roots

__all__ = ["check_names", "is_task_file", "names_in", "names_of"]

_PACKAGES = {"lmms-eval": "lmms_eval", "lm-eval": "lm_eval"}
_KEY = r"^[ \t-]*[\"']?(?:task|group|tag)[\"']?[ \t]*:"
_NAME = re.compile(_KEY + r"[ \t]*[\"']?([^\s\"'\[\]{}#]+)", re.MULTILINE)
_LIST = re.compile(_KEY + r"[ \t]*(?:#.*)?\n((?:[ \t]*-[ \t]*[^\n]+\n?)+)", re.MULTILINE)
_INLINE = re.compile(_KEY + r"[ \t]*\[([^\]]*)\]", re.MULTILINE)


@cache
def names_in(root: Path) -> frozenset[str]:
    """Return every name that a task file under `root` gives to a task, a group or a tag."""
    found: set[str] = set()
    for file in root.rglob("*"):
        if is_task_file(file):
            found |= names_of(file.read_text(encoding="utf-8", errors="replace"))
    return frozenset(found)


def is_task_file(file: Path) -> bool:
    """Whether a file may define tasks; templates that they include have other endings or none."""
    return ("yaml" in file.name or file.suffix in ("", ".yml")) and file.is_file()


def names_of(text: str) -> frozenset[str]:
    """Return every name that the text of a task file gives to a task, a group or a tag."""
    found = set(_NAME.findall(text))
    for block in _LIST.findall(text):
        found.update(line.strip(" \t-\"'") for line in block.splitlines())
    for block in _INLINE.findall(text):
        found.update(name.strip(" \"'") for name in block.split(","))
    return frozenset(found)


def check_names(harness: str, tasks: Iterable[str], elsewhere: bool = False) -> None:
    """Refuse task names that no task file has, before a harness is started.

    Patterns, paths, and all names if the plan includes folders of its own, are left to the harness.

    Raises:
        UserError: an unknown name, with the nearest known one.
    """
    if elsewhere:
        return
    names = [name for entry in tasks for name in entry.split(",")]
    unknown = [n for n in names if not set("*?/[") & set(n) and n not in names_in(roots(harness))]
    if not unknown:
        return
    spec = importlib.util.find_spec(_PACKAGES[harness])
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise UserError(f"harness {harness} is not installed; pip install {harness}")
    known = names_in(Path(next(iter(folders))) / "tasks") | names_in(roots(harness))
    for name in unknown:
        if name not in known:
            raise UserError(f"tasks: {harness} has no task {name!r}{nearest(name, known)}")

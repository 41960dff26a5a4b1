"""The local files that a task consists of, found without a harness."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from lmms_causal.matrix.planning.task_names import is_task_file, names_of

__all__ = ["TaskFolder", "task_files"]

_TASK = re.compile(r"^[\"']?task[\"']?[ \t]*:[ \t]*[^\s#\[]", re.MULTILINE)  # one, by its name
_GROUP = re.compile(r"^[\"']?(?:group|tag)[\"']?[ \t]*:.*$", re.MULTILINE)


class TaskFolder:
    """The task files below a folder, read once: a plan's ``include_path``."""

    def __init__(self, root: Path) -> None:
        self._names: dict[Path, frozenset[str]] = {}  # by which one asks for what is in a file
        self._parts: dict[Path, frozenset[str]] = {}  # what a group consists of
        for file in filter(is_task_file, _walk(root)):
            text = _text(file)
            group = _GROUP.findall(text) and not _TASK.search(text)
            self._names[file] = names_of("\n".join(_GROUP.findall(text)) if group else text)
            self._parts[file] = names_of(text) if group else frozenset()

    def defining(self, names: set[str]) -> set[Path]:
        """Return the files that define these tasks, groups and tags, and what groups consist of."""
        wanted, found = set(names), set[Path]()
        while True:
            more = {
                file
                for file, defined in self._names.items()
                if any(fnmatchcase(name, pattern) for name in defined for pattern in wanted)
            } - found
            if not more:
                return found
            found |= more
            wanted.update(*(self._parts[file] for file in more))


def task_files(entry: str, included: TaskFolder | None) -> list[Path]:
    """Return the local files that decide a cell's documents and prompts, as far as one can see.

    These are the task files of a folder that the plan includes, or that the plan names by their
    paths; what they ``include``; the Python files beside them; and the local files that
    ``dataset_path`` and ``dataset_kwargs`` name. Tasks that come with a package count by its
    version, data of the Hub by nothing: a harness would have to load them.

    Args:
        entry: of the plan's ``tasks``, names or paths between commas.
        included: the folder of ``include_path``.
    """
    names = set(entry.split(","))
    found = included.defining(names) if included else set()
    for path in map(Path, sorted(names)):
        if path.is_file():
            found.add(path)
        elif path.is_dir() and os.sep in str(path):
            found.update(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
    waiting, data = list(found), set[Path]()
    while waiting:
        file = waiting.pop()
        content = _content(_text(file))
        included_here = {file.parent / name for name in _texts(content.get("include"))}
        new = {it for it in included_here if it.is_file()} - found
        found |= new
        waiting += new
        for key in ("dataset_path", "dataset_kwargs"):
            data.update(path for text in _texts(content.get(key)) for path in _local(text))
    for folder in {file.parent for file in found}:
        data.update(folder.glob("*.py"))
    return sorted(found | data)


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder, without those of hidden folders such as ``.git``."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(it for it in folders if not it.startswith(".") and it != "__pycache__")
        yield from (Path(folder, name) for name in sorted(names))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _content(text: str) -> dict[str, Any]:
    """What a task file says; tags such as ``!function`` count as nothing."""
    import yaml

    try:
        value = yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}  # the harness says what is wrong with it
    return value if isinstance(value, dict) else {}


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    return Loader


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _local(text: str) -> Iterator[Path]:
    """Yield the files that a data set's path, folder or pattern names on this machine."""
    try:
        if os.path.isdir(text):
            yield from _walk(Path(text))
        elif os.path.isfile(text):
            yield Path(text)
        elif glob.has_magic(text):
            yield from (Path(it) for it in glob.glob(text, recursive=True) if os.path.isfile(it))
    except ValueError:  # no name of a file
        return

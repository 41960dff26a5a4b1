"""The files of this machine that a cell's answers come from: those of its model and its task.

A cell that is done stays done only as long as these are what they were. What only a harness can
see, such as the rows of a data set on the Hub, is compared by `documents` when a cell goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.matrix.keeping.files import digest_file, read_json
from lmms_causal.matrix.keeping.task_sources import TaskFolder, task_files
from lmms_causal.matrix.planning.cells import Cell

__all__ = ["Sources", "fingerprint", "refuse_stale"]

_WHOLE = 2**26  # bytes; weights and larger data are sampled
_PIECES, _PIECE = 64, 2**16
_ALL = 2**30  # bytes of a cell's files; where there are more, only the ends of each are read
_END = 2**12

_LOADED = frozenset(
    {".json", ".safetensors", ".bin", ".pt", ".pth", ".model", ".txt", ".jinja", ".py", ".gguf"}
)
"""Endings of what transformers and its kin load from a model's folder; a README is none of it."""


def fingerprint(file: Path, ends_only: bool = False) -> str:
    """Return the SHA-256 of a file; of a large one that of its size and pieces spread over it.

    It does not depend on the file's time, so a copy has the same. A change is not seen if it keeps
    the size of a file above 64 MB and touches none of the 64 pieces (4 MB in all), or with
    `ends_only` neither the first nor the last 4 kB of any file.
    """
    pieces, piece = (2, _END) if ends_only else (_PIECES, _PIECE)
    try:
        size = file.stat().st_size
        if size <= (pieces * piece if ends_only else _WHOLE):
            return digest_file(file)
        total = hashlib.sha256(str(size).encode())
        with file.open("rb") as stream:
            for index in range(pieces):
                stream.seek(index * (size - piece) // (pieces - 1))
                total.update(stream.read(piece))
        return f"pieces:{total.hexdigest()}"
    except OSError as error:
        return f"unreadable: {error.strerror}"


class Sources:
    """Fingerprints of what cells are made of; each file and folder is read once."""

    def __init__(self) -> None:
        self._fingerprints: dict[tuple[Path, bool], str] = {}
        self._folders: dict[str, TaskFolder] = {}

    def of(self, cell: Cell) -> dict[str, dict[str, str]]:
        """Return fingerprint by file, under ``model`` and under ``tasks``."""
        root = cell.identity["settings"].get("include_path")
        if root is not None and root not in self._folders:
            self._folders[root] = TaskFolder(Path(root))
        return {
            "model": self._of(_model_files(cell.identity["model_args"])),
            "tasks": self._of(task_files(cell.task, self._folders.get(root))),
        }

    def _of(self, files: Sequence[Path]) -> dict[str, str]:
        found = {}
        many = sum(map(_bytes_read, files)) > _ALL  # a folder of pictures, for example
        for file in files:
            if (file, many) not in self._fingerprints:
                self._fingerprints[file, many] = fingerprint(file, ends_only=many)
            found[str(file)] = self._fingerprints[file, many]
        return found

    def changed(self, cell: Cell) -> str | None:
        """Return what is no longer as it was for a cell's answers, or None if nothing is.

        Answers of a cell that is not done depend on its model. Its task may be mended meanwhile:
        an answer is kept for the very request that it was given for.
        """
        if done := read_json(cell.folder / "done.json"):
            before, kinds = done, ["model", "tasks"]
        elif any((cell.folder / "journal").glob("*.jsonl")):
            before, kinds = read_json(cell.folder / "cell.json") or {}, ["model"]
        else:
            return None
        was = before.get("sources")
        if not isinstance(was, Mapping):  # of an earlier version, which did not look
            return None
        now = self.of(cell)
        return next(filter(None, (_difference(was.get(it) or {}, now[it]) for it in kinds)), None)


def refuse_stale(cells: Sequence[Cell]) -> None:
    """Refuse to go on beside answers about other files than those that are there now.

    Raises:
        UserError: a file of a cell's model or task has changed, come or gone since.
    """
    sources = Sources()
    stale = [(cell, what) for cell in cells if (what := sources.changed(cell))]
    if not stale:
        return
    cell, what = stale[0]
    folders = len({it.folder for it, _ in stale})
    raise UserError(
        f"cell {cell.title}: {what} since it was evaluated"
        + (f" (and {folders - 1} more cells are stale)" if folders > 1 else "")
        + f"; put it back, choose another --output, or delete {cell.folder} to evaluate it anew"
    )


def _bytes_read(file: Path) -> int:
    try:
        size = file.stat().st_size
    except OSError:
        return 0
    return size if size <= _WHOLE else _PIECES * _PIECE


def _difference(before: Mapping[str, Any], now: Mapping[str, str]) -> str | None:
    """What is no longer the same: a change first, since it may be why other files are gone."""
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            return f"{name} has changed"
    for name in sorted(before.keys() ^ now.keys()):
        return f"{name} is {'new' if name in now else 'gone'}"
    return None


def _model_files(model_args: str) -> list[Path]:
    """The files that model arguments name: a local checkpoint, an adapter, a chat template."""
    found: list[Path] = []
    for argument in model_args.split(","):
        path = Path(argument.partition("=")[2].strip() or "\0")
        try:
            if path.is_dir():
                inside = (it for it in path.iterdir() if it.suffix in _LOADED and it.is_file())
                found += sorted(inside)
            elif path.is_file():
                found.append(path)
        except (OSError, ValueError):  # no name of a file
            continue
    return found

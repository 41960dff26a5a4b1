"""Which documents a cell is about: a digest of what the task's rows hold, pictures included."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.matrix.keeping.files import read_json, write_json

__all__ = ["check_documents", "describe", "digest_rows", "tasks_in"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+>")
_ROWS = 64  # rows held at a time; with pictures they are large


def tasks_in(task_dict: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and object of every task in what either harness hands to its evaluator."""
    for name, value in task_dict.items():
        task = value[1] if isinstance(value, tuple) else value
        if isinstance(task, Mapping):
            yield from tasks_in(task)
        elif hasattr(task, "eval_docs"):
            yield str(getattr(task.config, "task", None) or name), task


def check_documents(
    folder: Path, harness: str, task_dict: Any, limit: float | None, offset: int = 0
) -> None:
    """Keep what a cell's documents are; refuse to mix answers about other ones.

    Every rank does so before it answers anything: what is in the journal is about what was kept.

    Args:
        folder: of the cell; ``documents.json`` is in it.
        task_dict, limit, offset: what the harness gives to its evaluator.

    Raises:
        UserError: a task or its data changed since the first attempt; a share of several tasks,
            which lmms-eval would take of the first one only.
    """
    tasks = dict(tasks_in(task_dict))
    if harness == "lmms-eval" and limit is not None and 0 < limit < 1 and len(tasks) > 1:
        raise UserError(
            f"limit: {limit:g} of {len(tasks)} tasks in one cell ({', '.join(sorted(tasks))}): "
            "lmms-eval takes as many documents of each as that is of the first; name the tasks "
            "one by one, or give a number of documents"
        )
    found = {name: describe(task, limit, offset) for name, task in tasks.items()}
    file = folder / "documents.json"
    before = read_json(file)
    if before is None:
        write_json(file, found)
        return
    for name in sorted(before.keys() | found.keys()):
        if before.get(name) != found.get(name):
            raise UserError(
                f"task {name}: its documents or settings are not those that this cell was "
                f"started with; delete {folder} to evaluate it anew"
            )


def describe(task: Any, limit: float | None, offset: int = 0) -> dict[str, Any]:
    """Return the digests of a task's configuration and of the documents that are evaluated."""
    rows = task.eval_docs
    count = len(rows)
    if limit is not None and limit != -1:
        wanted = int(limit) if limit >= 1 else -int(-count * limit // 1)
        count = min(count, offset + wanted)
    text = _ADDRESS.sub(">", json.dumps(task.dump_config(), sort_keys=True, default=str))
    return {
        "documents": max(0, count - offset),
        "data": digest_rows(rows, offset, count),
        "configuration": hashlib.sha256(text.encode()).hexdigest(),
    }


def digest_rows(rows: Any, start: int, stop: int) -> str:
    """Return the SHA-256 of rows ``start`` to ``stop``.

    Rows of a data set are read as they are stored, so that no picture is decoded. A picture counts
    by its bytes; only one that is stored as a path counts by the path.
    """
    total = hashlib.sha256()
    stored = rows.with_format("arrow") if hasattr(rows, "with_format") else None
    for low in range(start, stop, _ROWS):
        high = min(low + _ROWS, stop)
        part = stored[low:high].to_pylist() if stored is not None else rows[low:high]
        for row in part:
            _add(total, row)
    return total.hexdigest()


def _add(total: Any, value: Any) -> None:
    """Add a value and its shape."""
    if isinstance(value, Mapping):
        if set(value) == {"bytes", "path"} and value["bytes"] is not None:
            return _add(total, value["bytes"])
        total.update(b"{%d" % len(value))
        for name in sorted(value, key=str):
            _add(total, str(name))
            _add(total, value[name])
    elif isinstance(value, (list, tuple)):
        total.update(b"[%d" % len(value))
        for item in value:
            _add(total, item)
    elif isinstance(value, (bytes, bytearray)):
        total.update(b"b%d:" % len(value))
        total.update(value)
    elif hasattr(value, "tobytes"):  # a picture or an array in memory
        _add(total, [str(getattr(value, "size", "")), value.tobytes()])
    else:
        text = json.dumps(value, default=str).encode()
        total.update(b"j%d:" % len(text))
        total.update(text)
    return None

"""Find the results file of a run, and the samples files that belong to it.

lmms-eval writes ``<time>_results.json`` beside ``<time>_samples_<task>.jsonl``; lm-eval writes
``results_<time>.json`` beside ``samples_<task>_<time>.jsonl`` (and ``<stem>_<time>.json`` when its
``--output_path`` names a file). Both put every run of the same checkpoint into the same folder,
with an intervention or without: only the arguments inside the file tell them apart.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from lmms_causal.compare.reading.json_files import load_json
from lmms_causal.compare.reading.results_shape import check_shape
from lmms_causal.compare.reading.run_identity import differing, identity, recorded_at
from lmms_causal.errors import UserError

_LM_EVAL_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?)\.json$")


def find_results_file(path: str | Path) -> Path:
    """Return the results file that `path` means.

    Args:
        path: A results file, or a folder searched with its sub-folders, symbolic links included.
            Repetitions of the same run (`lmms_causal.compare.reading.run_identity`) count as one:
            the one with the latest recorded date is taken.

    Raises:
        UserError: Nothing there, or several different runs to choose from; the message lists
            them with their model arguments.
    """
    path = Path(path)
    try:
        if path.is_file():
            return path
        there = path.exists()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name another path") from None
    if not there:
        raise UserError(
            f"{path}: no such file or folder; give a results JSON file or the folder that "
            "--output_path named"
        )
    files = sorted(_results_files_below(path))
    if not files:
        raise UserError(
            f"{path}: no results file (*_results.json or results_*.json) in this folder; "
            "was the evaluation run with --output_path?"
        )
    found = [(file, load_results(file)) for file in files]
    found.sort(key=lambda it: (recorded_at(it[1]), it[0].stat().st_mtime_ns, it[0].name))
    newest: dict[tuple[tuple[str, str], ...], tuple[Path, dict[str, str]]] = {}
    for file, data in found:
        what = identity(data)
        newest[tuple(sorted(what.items()))] = file, what
    if len(newest) > 1:
        listing = "; ".join(
            f"{file} ({what['model']}, {what['model_args'] or 'no model arguments'}, "
            f"tasks {what['tasks']})"
            for file, what in newest.values()
        )
        others = differing([what for _, what in newest.values()])
        apart = f" (which differ in {_some(others)})" if others else ""
        raise UserError(
            f"{path}: holds {len(newest)} different runs{apart}, name one of them: {listing}"
        )
    return next(iter(newest.values()))[0]


def load_results(file: Path) -> dict[str, Any]:
    """Load a results file of either harness.

    Raises:
        UserError: The file is not JSON, or not a harness's results file.
    """
    remedy = "give the results JSON, not the samples file"
    return check_shape(load_json(file, "not a results file", remedy), file)


def samples_file(results_file: Path, task: str) -> Path | None:
    """Return the samples file of `task` that was written with `results_file`, if there is one."""
    name = results_file.name
    if name.endswith("_results.json"):
        prefix = name[: -len("results.json")]
        candidate = results_file.parent / f"{prefix}samples_{task}.jsonl"
    elif match := _LM_EVAL_TIME.search(name):
        candidate = results_file.parent / f"samples_{task}_{match[1]}.jsonl"
    elif name.startswith("results_"):
        suffix = name[len("results_") : -len(".json")]
        candidate = results_file.parent / f"samples_{task}_{suffix}.jsonl"
    else:
        return None
    try:
        return candidate if candidate.is_file() else None
    except OSError:  # such as a name too long for any file
        return None


def is_results_name(name: str) -> bool:
    """Whether a search for runs takes a file of this name for a results file."""
    return (
        name.endswith("_results.json")
        or (name.startswith("results_") and name.endswith(".json"))
        or _LM_EVAL_TIME.search(name) is not None
    )


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _results_files_below(folder: Path) -> list[Path]:
    """Results files below a folder, each once; linked folders are entered, cycles are not."""
    found: dict[str, Path] = {}
    entered = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        for file in (Path(parent, name) for name in names if is_results_name(name)):
            key = os.path.realpath(file)
            # The samples lie beside the file itself, not beside a link to it.
            if file.is_file() and (key not in found or not file.is_symlink()):
                found[key] = file
    return list(found.values())

"""Find the results file of a run, and the samples files that belong to it.

lmms-eval writes ``<time>_results.json`` beside ``<time>_samples_<task>.jsonl``; lm-eval writes
``results_<time>.json`` beside ``samples_<task>_<time>.jsonl`` (and ``<stem>_<time>.json`` when its
``--output_path`` names a file). Both put every run of the same checkpoint into the same folder,
with an intervention or without: only the arguments inside the file tell them apart.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

_LM_EVAL_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?)\.json$")


def find_results_file(path: str | Path) -> Path:
    """Return the results file that `path` means.

    Args:
        path: A results file, or a folder searched with its sub-folders. Repetitions of the same
            run (same model, arguments, tasks) count as one: the newest file is taken.

    Raises:
        UserError: Nothing there, or several different runs to choose from; the message lists
            them with their model arguments.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(
            f"{path}: no such file or folder; give a results JSON file or the folder that "
            "--output_path named"
        )
    files = sorted(file for file in path.rglob("*.json") if _is_results_name(file.name))
    if not files:
        raise UserError(
            f"{path}: no results file (*_results.json or results_*.json) in this folder; "
            "was the evaluation run with --output_path?"
        )
    newest: dict[tuple[str, ...], Path] = {}
    for file in sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name)):
        newest[_identity(load_results(file))] = file
    if len(newest) > 1:
        listing = "; ".join(
            f"{file} ({identity[0]}, {identity[1] or 'no model arguments'}, tasks {identity[2]})"
            for identity, file in newest.items()
        )
        raise UserError(f"{path}: holds {len(newest)} different runs, name one of them: {listing}")
    return next(iter(newest.values()))


def load_results(file: Path) -> dict[str, Any]:
    """Load a results file of either harness.

    Raises:
        UserError: The file is not JSON, or not a harness's results file.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{file}: not a results file ({error}); give the results JSON, not the samples file"
        ) from None
    if not isinstance(data, dict) or not {"results", "configs", "config"} <= data.keys():
        raise UserError(
            f"{file}: not a results file of lmms-eval or lm-eval "
            "(the keys results, configs and config are expected)"
        )
    return data


def samples_file(results_file: Path, task: str) -> Path | None:
    """Return the samples file of `task` that was written with `results_file`, if there is one."""
    name = results_file.name
    if name.endswith("_results.json"):
        prefix = name[: -len("results.json")]
        candidate = results_file.with_name(f"{prefix}samples_{task}.jsonl")
    elif match := _LM_EVAL_TIME.search(name):
        candidate = results_file.with_name(f"samples_{task}_{match[1]}.jsonl")
    elif name.startswith("results_"):
        suffix = name[len("results_") : -len(".json")]
        candidate = results_file.with_name(f"samples_{task}_{suffix}.jsonl")
    else:
        return None
    return candidate if candidate.is_file() else None


def _is_results_name(name: str) -> bool:
    return (
        name.endswith("_results.json")
        or (name.startswith("results_") and name.endswith(".json"))
        or _LM_EVAL_TIME.search(name) is not None
    )


def _identity(data: dict[str, Any]) -> tuple[str, ...]:
    """What makes two results files repetitions of the same run."""
    config = data["config"]
    args = config.get("model_args")
    text = json.dumps(args, sort_keys=True) if isinstance(args, dict) else str(args or "")
    tasks = ",".join(sorted(data["results"]))
    more = ("limit", "offset", "gen_kwargs", "random_seed", "torch_seed", "fewshot_seed")
    return str(config.get("model")), text, tasks, *(str(config.get(key)) for key in more)

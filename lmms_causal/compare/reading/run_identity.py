"""What makes two results files repetitions of one run, and which of them is the newer one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from lmms_causal.compare.pairing.differences import plain

#: Entries of a run's configuration that say where and how fast it ran, or what it took.
_NOT_IDENTITY = frozenset(
    [
        "model",
        "model_args",
        "batch_size",
        "batch_sizes",
        "device",
        "use_cache",
        "bootstrap_iters",
        "process_docs_parallel",
        "resolved_cli_args",
    ]
)
#: Of the options that lmms-eval keeps, those that it records nowhere else.
_OPTIONS = ("apply_chat_template", "reasoning_tags", "process_with_media")
_OWN = ("lmms_causal_interventions", "lmms_causal_version")
#: lmms-eval's version is left out: it records the commit of the folder it was called in.
_TOP = (
    "lm_eval_version",
    "n-shot",
    "n-samples",
    "versions",
    "system_instruction",
    "chat_template",
    "chat_template_sha",
    "fewshot_as_multiturn",
)


def identity(data: Mapping[str, Any]) -> dict[str, str]:
    """Everything that can change an answer, as text by name: equal for repetitions of one run.

    Args:
        data: A results file. "model", "model_args" and "tasks" are always there.
    """
    config = data["config"]
    args = config.get("model_args")
    found = {
        "model": str(config.get("model")),
        "model_args": json.dumps(args, sort_keys=True)
        if isinstance(args, dict)
        else str(args or ""),
        "tasks": ",".join(sorted(data["results"])),
        "harness": "lmms-eval" if "lmms_eval_version" in data else "lm-eval",
    }
    for key, value in config.items():
        if key in _OWN or not (key in _NOT_IDENTITY or key.startswith("lmms_causal_")):
            found[key] = plain(value)
    options = config.get("resolved_cli_args")
    for key in _OPTIONS if isinstance(options, Mapping) else ():
        found[key] = plain(options.get(key))
    found.update({key: plain(data.get(key)) for key in _TOP})
    for name, task in data["configs"].items():
        for key, value in task.items() if isinstance(task, Mapping) else ():
            if key != "metadata":  # lm-eval repeats the model's arguments there
                found[f"{key} of task {name}"] = plain(value)
    return {key: value for key, value in found.items() if value != plain(None)}


def differing(identities: list[dict[str, str]]) -> list[str]:
    """Names of what is not the same in all of them, the arguments of the model apart."""
    names = dict.fromkeys(name for one in identities for name in one)
    return [
        name
        for name in names
        if name not in ("model", "model_args", "tasks")
        and len({one.get(name) for one in identities}) > 1
    ]


def recorded_at(data: Mapping[str, Any]) -> float:
    """Start of the run by its own record, in seconds since 1970; minus infinity without one.

    A file's time of change is that of the last copy, and no measure of age.
    """
    value = data.get("date")
    if isinstance(value, (int, float)):
        return float(value) if math.isfinite(value) else -math.inf
    try:
        begun = datetime.strptime(str(value), "%Y%m%d_%H%M%S")
    except ValueError:
        return -math.inf
    return begun.replace(tzinfo=timezone.utc).timestamp()

"""What kind of value a results file holds where, checked before anything is read from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmms_causal.compare.reading.json_files import too_large
from lmms_causal.errors import UserError

_REQUIRED = ("results", "configs", "config")
#: Blocks that one of the harnesses, or an older version, does not write.
_OPTIONAL = (
    "groups",
    "versions",
    "n-shot",
    "n-samples",
    "higher_is_better",
    "throughput",
    "efficiency",
)
_ENTRIES_ARE_OBJECTS = ("results", "configs", "higher_is_better")
_EDITED = "take the file as the harness wrote it, or run the evaluation again"
_TASK_LISTS = ("metric_list", "filter_list")


def check_shape(data: Any, file: Path) -> dict[str, Any]:
    """Return `data` if it is a results file of either harness as far as this package reads it.

    Raises:
        UserError: It is not; the message names the entry and what is expected there.
    """
    if not isinstance(data, dict) or not set(_REQUIRED) <= data.keys():
        raise UserError(
            f"{file}: not a results file of lmms-eval or lm-eval "
            "(the keys results, configs and config are expected)"
        )
    if (place := too_large(data)) is not None:
        raise UserError(f"{file}: {place[1:]} is a number beyond the range of float64; {_EDITED}")
    for place, value, expected in _wrong(data):
        shown = json.dumps(value, ensure_ascii=False)
        raise UserError(
            f"{file}: {place} is {shown if len(shown) <= 60 else f'{shown[:57]}...'}, where "
            f"{expected} is expected; {_EDITED}"
        )
    return data


def _wrong(data: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """(place, value, what is expected) of all that is of the wrong kind, outer things first."""
    for key in _REQUIRED:
        if not isinstance(data[key], dict):
            yield key, data[key], "an object"
    for key in _OPTIONAL:
        yield from _not_object(data, key, key)
    for key in _ENTRIES_ARE_OBJECTS:
        for name in data.get(key) or {}:
            if data[key][name] is not None or key != "higher_is_better":
                yield from _not_object(data[key], name, f"{key}.{name}", optional=False)
    config = data["config"]
    yield from _not_object(config, "lmms_causal_cost", "config.lmms_causal_cost")
    yield from _not_object(config, "resolved_cli_args", "config.resolved_cli_args")
    yield from _not_object(data.get("efficiency") or {}, "overall", "efficiency.overall")
    if not isinstance(config.get("model_args"), (str, dict, type(None))):
        yield "config.model_args", config["model_args"], "a text or an object"
    for name, task in data["configs"].items():
        for key in _TASK_LISTS:
            yield from _not_objects(task.get(key), f"configs.{name}.{key}")
        for entry in task.get("filter_list") or []:
            if not isinstance(entry.get("name", ""), str):
                yield f"configs.{name}.filter_list", entry["name"], "a name as text"


def _not_object(
    parent: Mapping[str, Any], key: str, place: str, optional: bool = True
) -> Iterator[tuple[str, Any, str]]:
    value = parent.get(key)
    if not isinstance(value, dict) and not (optional and value is None):
        yield place, value, "an object"


def _not_objects(value: Any, place: str) -> Iterator[tuple[str, Any, str]]:
    if value is None:
        return
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        yield place, value, "a list of objects"

"""Find the function behind a metric's aggregate, and find out whether that is just a mean.

A results file names an aggregation without saying where it lives: lmms-eval writes
``<function consistency at 0x...>``, lm-eval the function's source text. For the tasks of this
package the YAML file says it: ``aggregation: !function lmms_causal.tasks....consistency``.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

import lmms_causal.tasks
from lmms_causal.compare.records import Task, score

_NAME_IN_REPR = re.compile(r"<function (?:\w+\.)*(\w+) at ")
_NAME_IN_SOURCE = re.compile(r"^\s*(?:@.*\n\s*)*def (\w+)\(", re.MULTILINE)
_OURS = "lmms_causal.tasks."

#: An aggregate is the mean of the scores, possibly in per cent.
_SCALES = (1.0, 100.0)


def mean_scale(task: Task, metric: str, filter_name: str) -> float | None:
    """Return c when the reported aggregate is c times the mean of the documents' scores.

    c is 1 or 100; documents without a score (None) are left out of the mean, as the task's
    aggregation must have done for the number to agree. None: this metric is not a mean.
    """
    key = str(task.config.get("score_key") or "score")
    scores = [score(sample.metrics.get(metric), key) for sample in task.samples[filter_name]]
    present = [value for value in scores if value is not None]
    if not present:
        return None
    mean = math.fsum(present) / len(present)
    reported = task.aggregates[metric, filter_name]
    return next((scale for scale in _SCALES if _agree(scale * mean, reported)), None)


def reproduces(
    aggregate: Callable[[list[Any]], float], task: Task, metric: str, filter_name: str
) -> str | None:
    """Check that `aggregate` gives the number in the results file; None if so, else what is wrong.

    It need not: the file may come from another version of the task.
    """
    values = [sample.metrics.get(metric) for sample in task.samples[filter_name]]
    try:
        number = float(aggregate(values))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    reported = task.aggregates[metric, filter_name]
    return None if _agree(number, reported) else f"gives {number:.6g}, the file says {reported:.6g}"


def behaves_like_mean(
    aggregate: Callable[[list[Any]], float], values: Sequence[Any], score_key: str = "score"
) -> bool:
    """True when `aggregate` is a multiple of the mean score on parts of the data as well.

    A consistency over pairs may equal the mean by chance (all right, all wrong) on the whole.
    """
    half = len(values) // 2
    for part in (values[::2], values[1::2], values[:half], values[half:]):
        scores = [score(value, score_key) for value in part]
        present = [value for value in scores if value is not None]
        if not present:
            continue
        mean = math.fsum(present) / len(present)
        try:
            number = float(aggregate(list(part)))
        except Exception:  # of parts, or of values that no task writes: no mean in any case
            return False
        if not any(_agree(scale * mean, number) for scale in _SCALES):
            return False
    return True


def offered_aggregation(task: Task, metric: str) -> Callable[[list[Any]], float] | None:
    """Return this package's aggregation of `metric`, or None when the task is not one of ours.

    The name in the results file must be the one that the installed task declares.
    """
    declared = _declared_name(task, metric)
    path = _declarations().get((task.name, metric))
    if declared is None or path is None or path.rpartition(".")[2] != declared:
        return None
    module, _, name = path.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    required = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return function if len(required) == 1 else None


def is_installed_version(task: Task) -> bool:
    """True when the run's version of this task is that of the installed task file of this package.

    Whatever can change a score has a new version, so that the installed aggregations then apply.
    """
    return task.version is not None and str(task.version) in _versions().get(task.name, ())


def is_custom(task: Task, metric: str) -> bool:
    """True when the results file shows an aggregation of the task's own, not a built-in name."""
    return _declared_name(task, metric) is not None


def _agree(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)


def _declared_name(task: Task, metric: str) -> str | None:
    for entry in task.config.get("metric_list") or []:
        if entry.get("metric") == metric:
            text = str(entry.get("aggregation", ""))
            found = _NAME_IN_REPR.match(text) or _NAME_IN_SOURCE.search(text)
            return found[1] if found else None
    return None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads a task file with every ``!function path`` left as its text."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@lru_cache(maxsize=1)
def _declarations() -> Mapping[tuple[str, str], str]:
    """Dotted path of the aggregation by (task, metric), from the task files of this package."""
    found: dict[tuple[str, str], str] = {}
    for config in _task_files():
        for entry in config.get("metric_list") or []:
            path = str(entry.get("aggregation", ""))
            if path.startswith(_OURS):
                found[config["task"], entry["metric"]] = path
    return found


@lru_cache(maxsize=1)
def _versions() -> Mapping[str, frozenset[str]]:
    """Versions of this package's tasks by name: one, or one in each harness."""
    found: dict[str, frozenset[str]] = {}
    for config in _task_files():
        version = (config.get("metadata") or {}).get("version")
        found[config["task"]] = found.get(config["task"], frozenset()) | {str(version)}
    return found


@lru_cache(maxsize=1)
def _task_files() -> Sequence[Mapping[str, Any]]:
    """Every task file of this package that names one task, with what it includes."""
    found = []
    for root in _task_roots():
        read: dict[Path, dict[str, Any]] = {}
        for file in sorted(root.rglob("*.yaml")):
            config = _load(file, root.name == "for_lmms_eval", read)
            if isinstance(config.get("task"), str):
                found.append(config)
    return found


def _task_roots() -> Sequence[Path]:
    return [
        folder for base in lmms_causal.tasks.__path__ for folder in sorted(Path(base).glob("for_*"))
    ]


def _load(file: Path, earlier_wins: bool, read: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """Load a task file with what it includes, as its harness does; the including file wins.

    Args:
        file: The task file.
        earlier_wins: Whether of several included files an earlier one overrides a later one, as in
            lmms-eval 0.7.3 (`lmms_eval.utils.load_yaml_config`), or the other way round, as in
            lm-eval 0.4.13 (`lm_eval.tasks._yaml_loader.load_yaml`).
        read: Files loaded before, with what they include; gets this one.
    """
    if file in read:
        return read[file]
    config = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    if not isinstance(config, dict):
        config = {}
    includes = config.pop("include", None) or []
    includes = [includes] if isinstance(includes, str) else list(includes)
    merged: dict[str, Any] = {}
    for name in reversed(includes) if earlier_wins else includes:
        merged |= _load(file.parent / name, earlier_wins, read)
    read[file] = merged | config
    return read[file]

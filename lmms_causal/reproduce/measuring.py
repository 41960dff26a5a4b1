"""Our numbers for a recipe, from the harness's files, with intervals over documents.

The number is what the harness reports, averaged over seeds and combined as the recipe says. The
interval is a percentile bootstrap over documents, or over clusters of documents that share an image
or a pair: each draw takes the same documents for every seed and for both settings, so that the
interval of the difference is a paired one. What sampling adds from seed to seed is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmms_causal.compare.reading import aggregations
from lmms_causal.compare.records import CLUSTER_KEYS, Sample, Task, score
from lmms_causal.errors import UserError
from lmms_causal.reproduce.commands import METHOD, PLAIN
from lmms_causal.reproduce.recipe import Measure, Published, Recipe
from lmms_causal.reproduce.running import Runs

__all__ = ["Estimate", "Measured", "Verdict", "check_aggregations", "measure", "verdict"]

Array = NDArray[np.float64]
Verdict = str
"""``agrees``, ``within its interval``, ``differs``, or ``not compared``."""

_LEVEL = 0.95
_MOST, _FEWEST, _BUDGET = 1_999, 399, 1_000_000  # draws; documents times draws


@dataclass(frozen=True)
class Estimate:
    """A number of ours; the ends are NaN where there is no interval, and `note` says why.

    `contradicted`: the function that the recipe names gives another number from the documents.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    note: str = ""
    contradicted: bool = False


@dataclass(frozen=True)
class Measured:
    """Ours for one published number: plain, with the method, and their difference."""

    plain: Estimate
    method: Estimate
    difference: Estimate


def verdict(ours: Estimate, theirs: float | None, tolerance: float, settled: bool) -> Verdict:
    """Compare: within the tolerance, else whether our interval holds the published number.

    Args:
        ours: our number.
        theirs: the published one, None if it was not seen.
        tolerance: of the recipe.
        settled: ours are of the published model on the published documents; anything else settles
            nothing (`comparability.py`).
    """
    if theirs is None or not settled or ours.contradicted or math.isnan(ours.value):
        return "not compared"
    if abs(ours.value - theirs) <= tolerance * (1 + 1e-9):
        return "agrees"
    return "within its interval" if ours.low <= theirs <= ours.high else "differs"


def measure(runs: Runs, published: Published, seed: int = 0) -> Measured:
    """Compute ours for one published number.

    Args:
        runs: both settings for every seed.
        published: what is to be measured, and how.
        seed: of the bootstrap.

    Raises:
        UserError: a task or a metric is not in the results, or the settings answered different
            documents.
    """
    how = published.measure
    settings = (PLAIN, METHOD)
    cells = [(task, metric) for task in how.tasks for metric in how.metrics]
    points = {s: _combined([_point(runs, s, t, m, how) for t, m in cells], how) for s in settings}
    values = {s: float(points[s]) for s in settings}
    if problem := _contradiction(runs, how):
        shown = (values[PLAIN], values[METHOD], values[METHOD] - values[PLAIN])
        doubted = [Estimate(how.scale * one, note=problem, contradicted=True) for one in shown]
        return Measured(*doubted)
    note, drawn = _drawn(runs, how, seed)
    plain, method = (
        _estimate(values[s], drawn[s] if drawn else None, note, how.scale) for s in settings
    )
    change = _estimate(
        values[METHOD] - values[PLAIN],
        drawn[METHOD] - drawn[PLAIN] if drawn else None,
        note,
        how.scale,
    )
    return Measured(plain, method, change)


def _contradiction(runs: Runs, how: Measure) -> str:
    """What a function that the recipe names gives from the documents instead of the number in the
    results file; "" where they agree. Another version of the harness may disagree, and so does a
    file that was edited."""
    for metric, path in how.aggregations.items():
        for run in runs.values():
            for task in (_task(run, name) for name in how.tasks):
                if (metric, how.filter) not in task.aggregates or len(task.samples) != 1:
                    continue
                found = aggregations.reproduces(_function(path), task, metric, how.filter)
                if found and found.startswith("gives"):  # not where it cannot read the values
                    return f"{run.path}: {task.name}, {metric}: {path} {found}"
    return ""


def _estimate(value: float, draws: Array | None, note: str, scale: float) -> Estimate:
    if draws is None or not np.isfinite(draws).all():
        return Estimate(scale * value, note=note or "undefined on some of the resampled data")
    low, high = np.quantile(scale * draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(scale * value, float(low), float(high))


def _combined(parts: Sequence[Any], how: Measure) -> Any:
    total = sum(parts)
    return total if how.combine == "sum" else total / len(parts)


def _point(runs: Runs, setting: str, name: str, metric: str, how: Measure) -> float:
    tasks = [_task(run, name) for (one, _), run in runs.items() if one == setting]
    found = [_reported(task, metric, how) for task in tasks]
    return sum(found) / len(found)


def _reported(task: Task, metric: str, how: Measure) -> float:
    """What the harness reports; NaN for a number that the task declares and that did not come out,
    such as the F1 score of a model that never says yes."""
    value = task.aggregates.get((metric, how.filter))
    if value is not None:
        return value
    if any(entry.get("metric") == metric for entry in task.config.get("metric_list") or []):
        return float("nan")
    raise UserError(f"task {task.name}: the results have no {metric},{how.filter}")


def _task(run: Any, name: str) -> Task:
    if name not in run.tasks:
        raise UserError(f"{run.path}: no results of task {name}; it has {', '.join(run.tasks)}")
    task: Task = run.tasks[name]
    return task


def _drawn(runs: Runs, how: Measure, seed: int) -> tuple[str, dict[str, Array] | None]:
    """The combined number on resampled documents, by setting; or why there is no such thing."""
    sizes = [
        len(_task(run, name).samples.get(how.filter, ()))
        for run in runs.values()
        for name in how.tasks
    ]
    if min(sizes, default=0) == 0:
        return "the results have no documents", None
    count = int(np.clip(_BUDGET // max(sizes), _FEWEST, _MOST))
    generator = np.random.default_rng(seed)
    parts: dict[str, list[Array]] = {PLAIN: [], METHOD: []}
    for name in how.tasks:
        tasks = {key: _task(run, name) for key, run in runs.items()}
        documents = {key: _by_document(task, how.filter) for key, task in tasks.items()}
        first, ids = next((run, list(one)) for run, one in documents.items())
        for other, found in documents.items():
            if set(found) != set(ids):
                raise UserError(
                    f"task {name}: the settings answered different documents ({runs[first].path}, "
                    f"{runs[other].path}); remove the folder that does not hold the benchmark's, "
                    "and evaluate again"
                )
        groups, key = _clusters(next(iter(tasks.values())), next(iter(documents.values())), ids)
        if len(groups) < 2:
            return "too few independent documents", None
        draws = generator.integers(len(groups), size=(count, len(groups)))
        for metric in how.metrics:
            for setting, into in parts.items():
                seeds = []
                for (one, number), task in tasks.items():
                    if one != setting:
                        continue
                    if (metric, how.filter) not in task.aggregates:
                        return f"{metric} is undefined on these answers", None
                    rows = [documents[one, number][doc].metrics.get(metric) for doc in ids]
                    values = _resampled(task, metric, how, rows, groups, draws, key)
                    if values is None:
                        return f"{metric} is not known as a function of documents", None
                    seeds.append(values)
                into.append(np.mean(seeds, axis=0))
    return "", {setting: _combined(arrays, how) for setting, arrays in parts.items()}


def _by_document(task: Task, name: str) -> dict[int, Sample]:
    return {sample.doc_id: sample for sample in task.samples[name]}


def _clusters(
    task: Task, documents: Mapping[int, Sample], ids: Sequence[int]
) -> tuple[list[list[int]], str | None]:
    """Places of documents that belong together, and the attribute that says so."""
    preferred = task.config.get("cluster_key")
    for key in (preferred, *CLUSTER_KEYS):
        if key and all(key in documents[doc].attributes for doc in ids):
            groups: dict[Hashable, list[int]] = {}
            for place, doc in enumerate(ids):
                groups.setdefault(documents[doc].attributes[key], []).append(place)
            return list(groups.values()), str(key)
    return [[place] for place in range(len(ids))], None


def _resampled(
    task: Task,
    metric: str,
    how: Measure,
    rows: Sequence[Any],
    groups: Sequence[Sequence[int]],
    draws: NDArray[np.int64],
    key: str | None,
) -> Array | None:
    """The metric on each draw of clusters, [draws]; None if it is no known function of `rows`."""
    aggregate = _aggregation(task, metric, how)
    scale = aggregations.mean_scale(task, metric, how.filter)
    score_key = str(task.config.get("score_key") or "score")
    if scale is not None and (
        aggregate is None or aggregations.behaves_like_mean(aggregate, rows, score_key)
    ):
        scores = [score(row, score_key) for row in rows]
        filled = np.array([0.0 if one is None else one for one in scores])
        counted = np.array([0.0 if one is None else 1.0 for one in scores])
        sums = np.array([filled[list(members)].sum() for members in groups])
        counts = np.array([counted[list(members)].sum() for members in groups])
        with np.errstate(invalid="ignore"):
            return np.asarray(scale * sums[draws].sum(axis=1) / counts[draws].sum(axis=1))
    if aggregate is None or aggregations.reproduces(aggregate, task, metric, how.filter):
        return None
    identifiers = {"id", *CLUSTER_KEYS, key or ""}
    results = np.empty(len(draws))
    for place, draw in enumerate(draws.tolist()):
        drawn: list[Any] = []
        seen: dict[int, int] = {}
        for group in draw:
            copy = seen[group] = seen.get(group, -1) + 1
            drawn.extend(_copy(rows[row], copy, identifiers) for row in groups[group])
        try:
            results[place] = float(aggregate(drawn))
        except ArithmeticError:
            results[place] = float("nan")
    return results


def check_aggregations(recipe: Recipe) -> None:
    """Load the functions that a recipe names, before anything is run.

    Raises:
        UserError: there is no such function.
    """
    for one in recipe.published:
        for path in one.measure.aggregations.values():
            _function(path)


def _aggregation(task: Task, metric: str, how: Measure) -> Callable[[list[Any]], float] | None:
    if metric in how.aggregations:
        return _function(how.aggregations[metric])
    return aggregations.offered_aggregation(task, metric)


def _function(path: str) -> Callable[[list[Any]], float]:
    module, _, name = path.rpartition(".")
    try:
        function: Callable[[list[Any]], float] = getattr(import_module(module), name)
    except (AttributeError, ImportError, ValueError) as error:
        raise UserError(f"aggregations: {path}: cannot be imported ({error})") from None
    return function


def _copy(record: Any, copy: int, identifiers: set[str]) -> Any:
    """A cluster drawn twice is two clusters: what an aggregation may group by gets a suffix."""
    if copy == 0 or not isinstance(record, Mapping):
        return record
    return {k: f"{v}#{copy}" if k in identifiers else v for k, v in record.items()}

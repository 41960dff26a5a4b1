"""Compare runs with a reference run: the numbers behind the table and the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lmms_causal.compare import statistics
from lmms_causal.compare.cost import CostRatio, cost_ratios
from lmms_causal.compare.differences import Difference, find_differences
from lmms_causal.compare.metric import MetricComparison, aggregate_only
from lmms_causal.compare.pairing import Pairing, pair_samples
from lmms_causal.compare.records import Run, Task
from lmms_causal.compare.rows import Options, Row
from lmms_causal.errors import UserError


@dataclass(frozen=True)
class Comparison:
    """Everything known about B against A.

    Attributes:
        a: The reference run.
        b: The run compared with it.
        rows: One per task, metric, filter and stratum.
        differences: What differs besides the interventions.
        costs: Cost of both and their ratio.
        notes: Things a reader must know: documents left out, tasks of one run only, ...
        options: The options it was made with.
    """

    a: Run
    b: Run
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    costs: tuple[CostRatio, ...]
    notes: tuple[str, ...]
    options: Options


def compare(a: Run, others: Sequence[Run], options: Options | None = None) -> list[Comparison]:
    """Compare each of `others` with `a`; Holm's correction runs over all rows of all of them.

    A metric that repeats the scores of another one of its task is not one more hypothesis: it
    takes over the other's adjusted p.

    Raises:
        UserError: No common task or metric, an unknown name in the options, different documents.
    """
    options = options or Options()
    found = [_compare_pair(a, b, options) for b in others]
    tested = {
        (index, *_hypothesis(row)): row.p
        for index, comparison in enumerate(found)
        for row in comparison.rows
        if row.p is not None and row.same_as is None
    }
    adjusted = dict(zip(tested, statistics.holm(list(tested.values())), strict=True))
    # The strictest of Holm's levels: what shows at that one shows whatever the other rows give.
    level = 1.0 - (1.0 - options.level) / max(1, len(tested))
    return [
        dataclasses.replace(
            comparison,
            rows=tuple(
                dataclasses.replace(
                    row,
                    p_holm=adjusted.get((index, *_hypothesis(row))),
                    detectable=_detectable(row, level),
                )
                for row in comparison.rows
            ),
        )
        for index, comparison in enumerate(found)
    ]


def _detectable(row: Row, level: float) -> float | None:
    if row.p is None or row.standard_error is None:
        return None
    units = None if row.mcnemar_p is None else row.units
    effect = statistics.minimum_detectable_effect(row.standard_error, level, binary_units=units)
    return effect if effect > 0.0 else None  # NaN: none


def _hypothesis(row: Row) -> tuple[str, str, str, str | None]:
    return row.task, row.same_as or row.metric, row.filter, row.stratum


def _compare_pair(a: Run, b: Run, options: Options) -> Comparison:
    notes: list[str] = []
    if a.interventions == b.interventions:
        notes.append(
            f"both runs have the same interventions ({a.interventions or 'none'}): their "
            "difference is not the effect of an intervention"
        )
    names = _common_tasks(a, b, options, notes)
    rows = [
        row
        for name in names
        for row in _task_rows(a.tasks[name], b.tasks[name], options, notes, a.harness == b.harness)
    ]
    if not rows:
        raise UserError(
            f"no common metric to compare in tasks {', '.join(names)}"
            + (f" (--metrics {','.join(options.metrics)})" if options.metrics else "")
            + f"; A has {_listed(_metric_names(a, names))}, "
            + f"B has {_listed(_metric_names(b, names))}"
        )
    if (in_a := _documents(a)) != (in_b := _documents(b)):
        apart = ", ".join(
            sorted(n for n in in_a.keys() | in_b.keys() if in_a.get(n) != in_b.get(n))
        )
        notes.append(
            f"the cost is that of whole runs: {sum(in_a.values())} documents in A, "
            f"{sum(in_b.values())} in B, which differ in {apart}"
        )
    elif set(names) < set(in_a):
        notes.append("the cost is that of whole runs, tasks that are not shown included")
    for run, label in ((a, "A"), (b, "B")):
        if run.cost.from_cache:
            notes.append(f"run {label} used a response cache: its times are not comparable")
    return Comparison(
        a=a,
        b=b,
        rows=tuple(rows),
        differences=tuple(find_differences(a, b)),
        costs=tuple(cost_ratios(a.cost, b.cost)),
        notes=tuple(notes),
        options=options,
    )


def _documents(run: Run) -> dict[str, int]:
    """Documents answered by task, each once however many filters read the answer."""
    return {
        name: max(map(len, task.samples.values()), default=0)
        for name, task in run.tasks.items()
        if not task.is_group
    }


def _common_tasks(a: Run, b: Run, options: Options, notes: list[str]) -> list[str]:
    for name in options.tasks:
        if name not in a.tasks or name not in b.tasks:
            run = a if name not in a.tasks else b
            raise UserError(
                f"--tasks {name}: not in {run.path}, which has {', '.join(run.tasks) or 'no task'}"
            )
    common = [name for name in options.tasks or a.tasks if name in b.tasks]
    if not common:
        raise UserError(
            f"the runs have no task in common: {', '.join(a.tasks)} in {a.path}; "
            f"{', '.join(b.tasks)} in {b.path}"
        )
    if not options.tasks and (apart := sorted(a.tasks.keys() ^ b.tasks.keys())):
        notes.append(f"in one run only, not compared: {', '.join(apart)}")
    # Groups repeat their tasks: they come last.
    return sorted(common, key=lambda name: a.tasks[name].is_group)


def _metric_names(run: Run, tasks: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(metric for name in tasks for metric, _ in run.tasks[name].aggregates))


def _listed(names: Sequence[str]) -> str:
    if set(names) <= {"bypass"}:
        return "no metric (was it run with --predict_only?)"
    return ", ".join(names)


def _task_rows(
    a: Task, b: Task, options: Options, notes: list[str], same_harness: bool
) -> Iterator[Row]:
    wanted = [
        (metric, name)
        for metric, name in a.aggregates
        if (metric, name) in b.aggregates and (not options.metrics or metric in options.metrics)
    ]
    one_sided = {
        f"{metric} ({name})"
        for metric, name in a.aggregates.keys() ^ b.aggregates.keys()
        if not options.metrics or metric in options.metrics
    }
    if one_sided:
        notes.append(
            f"task {a.name}: without a value in one of the runs, not compared: "
            f"{', '.join(sorted(one_sided)).replace(' (none)', '')}"
        )
    if a.is_group:
        wanted.sort()  # lmms-eval writes them in an order that changes from run to run
    pairings: dict[str, Pairing] = {}
    first: dict[Any, str] = {}
    for metric, name in wanted:
        if a.is_group or b.is_group:
            yield aggregate_only(
                a, b, metric, name, 0, "aggregate of a group, not tested: see its tasks"
            )
            continue
        if name not in a.samples or name not in b.samples:
            yield aggregate_only(a, b, metric, name, 0, "no samples under this filter")
            continue
        if name not in pairings:
            pairings[name] = pair_samples(
                a.samples[name], b.samples[name], a.name, options.intersect
            )
            notes += _pairing_notes(a.name, pairings[name], same_harness)
        comparison = MetricComparison(a, b, metric, name, pairings[name], options)
        rows = list(comparison.rows())
        signature = (name, rows[0].test, comparison.signature())
        twin = first.setdefault(signature, metric) if rows[0].gained is not None else metric
        for row in rows:
            yield row if twin == metric else dataclasses.replace(row, same_as=twin)


def _pairing_notes(task: str, pairing: Pairing, same_harness: bool) -> list[str]:
    notes = []
    if pairing.only_a or pairing.only_b:
        notes.append(
            f"task {task}: {len(pairing.pairs)} common documents compared; left out "
            f"{pairing.only_a} of A and {pairing.only_b} of B; scores are of the common documents"
        )
    # The harnesses spell the place of an image differently, so theirs always differ.
    if pairing.prompts_differ and same_harness:
        notes.append(f"task {task}: the prompts of {pairing.prompts_differ} documents differ")
    if pairing.by == "row and target":
        notes.append(
            f"task {task}: documents carry no id, paired by their row number and target answer"
        )
    return notes

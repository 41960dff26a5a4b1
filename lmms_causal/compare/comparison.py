"""Compare runs with a reference run: the numbers behind the table and the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from lmms_causal.compare.pairing.checks import Check, check_runs
from lmms_causal.compare.pairing.differences import Difference, find_differences
from lmms_causal.compare.pairing.documents import Flip
from lmms_causal.compare.pairing.fields import has_field, missing_field
from lmms_causal.compare.pairing.pairs import NotComparable
from lmms_causal.compare.reading.cost import CostRatio, cost_ratios
from lmms_causal.compare.records import Run
from lmms_causal.compare.rows.margins import corrected
from lmms_causal.compare.rows.row import Options, Row
from lmms_causal.compare.rows.scale import Scales
from lmms_causal.compare.rows.task_comparison import TaskComparison, compare_task
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
        checks: What must be alike for the difference to be the intervention's.
        flips: The documents whose score changed, metric by metric.
    """

    a: Run
    b: Run
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    costs: tuple[CostRatio, ...]
    notes: tuple[str, ...]
    options: Options
    checks: tuple[Check, ...] = ()
    flips: tuple[Flip, ...] = ()


def compare(a: Run, others: Sequence[Run], options: Options | None = None) -> list[Comparison]:
    """Compare each of `others` with `a`; Holm's correction runs over their rows together.

    Raises:
        UserError: No common task or metric, an unknown name in the options, different documents.
    """
    options = options or Options()
    scales = Scales((a, *others))
    found = [_compare_pair(a, b, options, scales) for b in others]
    rows = corrected(
        {
            (index, place): row
            for index, comparison in enumerate(found)
            for place, row in enumerate(comparison.rows)
        },
        options,
    )
    return [
        dataclasses.replace(
            comparison,
            rows=tuple(rows[index, place] for place in range(len(comparison.rows))),
        )
        for index, comparison in enumerate(found)
    ]


def _compare_pair(a: Run, b: Run, options: Options, scales: Scales) -> Comparison:
    notes: list[str] = []
    if a.interventions == b.interventions:
        notes.append(
            f"both runs have the same interventions ({a.interventions or 'none'}): their "
            "difference is not the effect of an intervention"
        )
    names = _common_tasks(a, b, options, notes)
    notes += _fields(a, b, names, options)
    tasks = _compare_tasks(names, (a, b), options, scales, notes)
    notes += [note for task in tasks for note in task.notes]
    rows = [row for task in tasks for row in task.rows]
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
        differences=tuple(
            sorted(
                [
                    *(found for task in tasks for found in task.differences),
                    *find_differences(a, b),
                ],
                key=lambda found: not found.serious,
            )
        ),
        costs=tuple(cost_ratios(a.cost, b.cost)),
        notes=tuple(notes),
        options=options,
        checks=(*check_runs(a, b), *(check for task in tasks for check in task.checks)),
        flips=tuple(flip for task in tasks for flip in task.flips),
    )


def _compare_tasks(
    names: Sequence[str],
    runs: tuple[Run, Run],
    options: Options,
    scales: Scales,
    notes: list[str],
) -> list[TaskComparison]:
    """Compare task by task; one that cannot be paired is named and stops no other.

    Raises:
        NotComparable: None of them can be.
    """
    found: list[TaskComparison] = []
    troubles: list[NotComparable] = []
    for name in names:
        left_out = bool(troubles) or any(task.left_out for task in found)
        try:
            found.append(compare_task(name, runs, options, scales, left_out))
        except NotComparable as trouble:
            troubles.append(trouble)
    if troubles and not any(row.units for task in found for row in task.rows):
        raise troubles[0]
    notes += [f"not compared: {trouble}" for trouble in troubles]
    return found


def _fields(a: Run, b: Run, names: Sequence[str], options: Options) -> list[str]:
    """Name the tasks that lack a field of ``--by`` or ``--cluster``.

    Raises:
        UserError: No task has it.
    """
    notes = []
    tasks = [a.tasks[name] for name in names if a.tasks[name].samples]
    wanted = [(key, f"--by {key}", "not split") for key in options.by]
    if options.cluster not in (None, "none"):
        key = str(options.cluster)
        wanted.append((key, f"--cluster {key}", "clustered as usual"))
    for key, option, instead in wanted:
        without = [task.name for task in tasks if not has_field(task, key)]
        if tasks and len(without) == len(tasks):
            raise UserError(missing_field(option, tasks[0], b.tasks[tasks[0].name]))
        if without:
            notes.append(f"{option}: not recorded in {', '.join(without)}, which is {instead}")
    return notes


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

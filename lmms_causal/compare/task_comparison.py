"""Compare one task between two runs: its rows, its checks, the documents that flipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmms_causal.compare.checks import Check, check_task
from lmms_causal.compare.documents import Flip, flips_of
from lmms_causal.compare.metric import MetricComparison, aggregate_only
from lmms_causal.compare.pairing import Pairing, has_field, pair_samples
from lmms_causal.compare.records import Run, Task
from lmms_causal.compare.rows import Options, Row


@dataclass(frozen=True)
class TaskComparison:
    """Everything known about one task in B against A; fields as in `Comparison`."""

    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    flips: tuple[Flip, ...]
    notes: tuple[str, ...]


def compare_task(name: str, runs: tuple[Run, Run], options: Options) -> TaskComparison:
    """Compare a task that both runs have.

    Raises:
        UserError: The runs answered different documents.
    """
    a, b = (run.tasks[name] for run in runs)
    options = _options_of(a, options)
    wanted = [
        (metric, filter_name)
        for metric, filter_name in a.aggregates
        if (metric, filter_name) in b.aggregates
        and (not options.metrics or metric in options.metrics)
    ]
    notes = _one_sided(a, b, options)
    if a.is_group or b.is_group:
        wanted.sort()  # lmms-eval writes them in an order that changes from run to run
        reason = "aggregate of a group, not tested: see its tasks"
        rows = [aggregate_only(a, b, metric, name, 0, reason) for metric, name in wanted]
        return TaskComparison(tuple(rows), (), (), tuple(notes))
    pairings: dict[str, Pairing] = {}
    for filter_name in dict.fromkeys(name for _, name in wanted):
        if filter_name in a.samples and filter_name in b.samples:
            pairing = pair_samples(
                a.samples[filter_name], b.samples[filter_name], name, options.intersect
            )
            pairings[filter_name] = pairing
            notes += _pairing_notes(name, pairing, runs[0].harness == runs[1].harness)
    rows = list(_rows(a, b, wanted, pairings, options))
    return TaskComparison(
        rows=tuple(rows),
        checks=tuple(check_task(a, b, runs, pairings)) if rows else (),
        flips=tuple(_flips(a, rows, pairings)),
        notes=tuple(notes),
    )


def _options_of(task: Task, options: Options) -> Options:
    """The options with the fields that this task records; `compare` has named the others."""
    cluster = options.cluster
    if cluster not in (None, "none") and not has_field(task, str(cluster)):
        cluster = None
    by = tuple(key for key in options.by if has_field(task, key))
    return dataclasses.replace(options, by=by, cluster=cluster)


def _rows(
    a: Task,
    b: Task,
    wanted: list[tuple[str, str]],
    pairings: dict[str, Pairing],
    options: Options,
) -> Iterator[Row]:
    first: dict[Any, str] = {}
    for metric, name in wanted:
        if name not in pairings:
            yield aggregate_only(a, b, metric, name, 0, "no samples under this filter")
            continue
        comparison = MetricComparison(a, b, metric, name, pairings[name], options)
        rows = list(comparison.rows())
        signature = (name, rows[0].test, comparison.signature())
        twin = first.setdefault(signature, metric) if rows[0].gained is not None else metric
        for row in rows:
            yield row if twin == metric else dataclasses.replace(row, same_as=twin)


def _flips(task: Task, rows: list[Row], pairings: dict[str, Pairing]) -> Iterator[Flip]:
    for row in rows:
        if row.stratum is None and row.gained is not None and row.same_as is None:
            yield from flips_of(task, row.metric, row.filter, pairings[row.filter].pairs)


def _one_sided(a: Task, b: Task, options: Options) -> list[str]:
    names = {
        f"{metric} ({name})"
        for metric, name in a.aggregates.keys() ^ b.aggregates.keys()
        if not options.metrics or metric in options.metrics
    }
    if not names:
        return []
    return [
        f"task {a.name}: without a value in one of the runs, not compared: "
        f"{', '.join(sorted(names)).replace(' (none)', '')}"
    ]


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

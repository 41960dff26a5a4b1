"""Compare one task between two runs: its rows, its checks, the documents that flipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lmms_causal.compare.pairing.checks import Check, check_task
from lmms_causal.compare.pairing.differences import Difference, differing_targets
from lmms_causal.compare.pairing.documents import Flip, flips_of
from lmms_causal.compare.pairing.fields import (
    answer_fields,
    choose_cluster_key,
    declared_cluster_key,
    has_field,
    refuse_answer_field,
)
from lmms_causal.compare.pairing.pairs import Pairing, pair_samples, require_documents
from lmms_causal.compare.records import Run, Task
from lmms_causal.compare.rows.make_rows import aggregate_only
from lmms_causal.compare.rows.metric import MetricComparison
from lmms_causal.compare.rows.row import Options, Row
from lmms_causal.compare.rows.scale import Scales
from lmms_causal.compare.rows.twins import Signature, marked


@dataclass(frozen=True)
class TaskComparison:
    """Everything known about one task in B against A; fields as in `Comparison`.

    ``left_out`` says whether documents of one run only were left out.
    """

    rows: tuple[Row, ...]
    checks: tuple[Check, ...] = ()
    flips: tuple[Flip, ...] = ()
    notes: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    left_out: bool = False


def compare_task(
    name: str, runs: tuple[Run, Run], options: Options, scales: Scales, left_out: bool = False
) -> TaskComparison:
    """Compare a task that both runs have.

    Args:
        name: The task, or a group of them.
        runs: A and B.
        options: What to compare and how.
        scales: The units of the metrics.
        left_out: Whether documents of other tasks were left out, which a group's aggregates count.

    Raises:
        NotComparable: The runs answered different documents.
        UserError: A field to split or cluster by is of the answers.
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
        rows = [
            aggregate_only(a, b, metric, name, reason, scales.of(a.name, metric), left_out=left_out)
            for metric, name in wanted
        ]
        return TaskComparison(tuple(rows), notes=tuple(notes))
    answered = [sum(map(len, task.samples.values())) for task in (a, b)]
    require_documents(answered[0], answered[1], name)
    pairings: dict[str, Pairing] = {}
    for filter_name in dict.fromkeys(name for _, name in wanted):
        if filter_name in a.samples and filter_name in b.samples:
            pairing = pair_samples(
                a.samples[filter_name], b.samples[filter_name], name, options.intersect
            )
            pairings[filter_name] = pairing
            notes += _pairing_notes(a, pairing, runs[0].harness == runs[1].harness)
            for key in options.by:
                refuse_answer_field("--by", key, pairing.pairs, a)
            if options.cluster not in (None, "none"):
                refuse_answer_field("--cluster", str(options.cluster), pairing.pairs, a)
    apart = any(pairing.only_a or pairing.only_b for pairing in pairings.values())
    rows = marked(list(_rows(a, b, wanted, pairings, options, scales)))
    return TaskComparison(
        rows=tuple(rows),
        checks=tuple(check_task(a, b, runs, pairings)) if rows else (),
        flips=tuple(_flips(a, rows, pairings)),
        notes=tuple(dict.fromkeys(notes)),
        differences=tuple(
            found
            for pairing in list(pairings.values())[:1]  # filters read the same documents
            for found in differing_targets(name, pairing)
        ),
        left_out=apart,
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
    pairings: Mapping[str, Pairing],
    options: Options,
    scales: Scales,
) -> Iterator[tuple[Row, Signature | None]]:
    for metric, name in wanted:
        scale = scales.of(a.name, metric)
        if name in pairings:
            yield from MetricComparison(a, b, metric, name, pairings[name], options, scale).rows()
        else:
            yield aggregate_only(a, b, metric, name, "no samples under this filter", scale), None


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


def _pairing_notes(task: Task, pairing: Pairing, same_harness: bool) -> list[str]:
    notes = []
    count = len(pairing.pairs)
    if pairing.only_a or pairing.only_b:
        notes.append(
            f"{count} common documents compared; left out {pairing.only_a} of A and "
            f"{pairing.only_b} of B; scores are of the common documents"
        )
    # The harnesses spell the place of an image differently, so theirs always differ.
    if pairing.prompts_differ and same_harness:
        notes.append(f"the prompts of {pairing.prompts_differ} documents differ")
    if pairing.repeated_ids:
        notes.append(f"several documents have the same id, so they are paired by {pairing.by}")
    elif pairing.by == "row and target":
        notes.append("documents carry no id, paired by their row number and target answer")
    usual = choose_cluster_key([left for left, _ in pairing.pairs], declared_cluster_key(task))
    if usual in answer_fields(pairing.pairs, task):
        notes.append(f"{usual}, by which documents are clustered, differs in A and B: A's is used")
    return [f"task {task.name}: {note}" for note in notes]

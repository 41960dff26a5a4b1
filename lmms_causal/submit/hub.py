"""Files of ``.eval_results/`` for a model's repository on the Hugging Face Hub.

Format: https://huggingface.co/docs/hub/eval-results, through ``huggingface_hub``'s own classes. An
entry puts one value on a model's page and on the benchmark's leaderboard, under the model's name.
The only place for "and this was done to the model" is ``notes``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml, parse_eval_result_entries

from lmms_causal import __version__
from lmms_causal.compare.records import Task
from lmms_causal.errors import UserError, nearest
from lmms_causal.submit.evidence import Evidence

__all__ = ["Benchmark", "check_hub_file", "described", "hub_file", "read_benchmark"]

_BENCHMARK = re.compile(
    r"(?P<task>[^\s:=,]+)(?::(?P<metric>[^\s:=,]+)(?:,(?P<filter>[^\s:=,]+))?)?="
    r"(?P<dataset>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*):(?P<id>[\w.-]+)(?:@(?P<revision>[\w.-]+))?"
)
_PLAIN = "plain model, no intervention"
_CONTROL = re.compile(r"(.*_)?blind(_.*)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Benchmark:
    """Which number of the run is which number of the Hub.

    Attributes:
        task: task of the run.
        metric: its metric; None for the task's first.
        filter: its answer filter; None for the first.
        dataset_id: of a data set that the Hub lists as a benchmark.
        task_id: of that data set's ``eval.yaml``.
        revision: of the data set.
    """

    task: str
    metric: str | None
    filter: str | None
    dataset_id: str
    task_id: str
    revision: str | None = None


def read_benchmark(text: str) -> Benchmark:
    """Read ``TASK[:METRIC[,FILTER]]=ORG/DATASET:TASK_ID[@REVISION]``.

    Raises:
        UserError: it is not of that form.
    """
    match = _BENCHMARK.fullmatch(text)
    if not match:
        raise UserError(
            f"--hub-benchmark {text}: write TASK[:METRIC]=ORGANISATION/DATASET:TASK_ID[@REVISION]"
        )
    return Benchmark(
        match["task"],
        match["metric"],
        match["filter"],
        match["dataset"],
        match["id"],
        match["revision"],
    )


def hub_file(
    evidence: Evidence, benchmarks: Sequence[Benchmark], source_url: str | None = None
) -> tuple[str, str]:
    """Name and text of the file for ``.eval_results/``.

    Raises:
        UserError: a task or a metric is not in the run; two numbers for one place.
    """
    places = [(one.dataset_id, one.task_id) for one in benchmarks]
    for place in places:
        if places.count(place) > 1:
            raise UserError(f"--hub-benchmark: two numbers for {':'.join(place)}; name one")
    entries = [_entry(evidence, one, source_url) for one in benchmarks]
    text = yaml.safe_dump(
        eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True, width=10_000
    )
    check_hub_file(text, evidence.intervention)
    name = f"lmms-causal-{evidence.digest}.yaml"
    return name, text


def check_hub_file(text: str, intervention: str) -> None:
    """Check a file as far as its documented form goes, and that it names the intervention.

    Raises:
        UserError: what is wrong.
    """
    data: Any = yaml.safe_load(text)
    if not isinstance(data, list) or not data:
        raise UserError("eval results: a list of entries is expected")
    for entry in parse_eval_result_entries(data):
        where = f"eval results, {entry.dataset_id}:{entry.task_id}"
        if isinstance(entry.value, bool) or not isinstance(entry.value, (int, float)):
            raise UserError(f"{where}: value {entry.value!r} is no number")
        if entry.value != entry.value or abs(entry.value) == float("inf"):
            raise UserError(f"{where}: value {entry.value!r} is not finite")
        if entry.date is not None and not _DATE.match(entry.date):
            raise UserError(f"{where}: date {entry.date!r} is not ISO 8601")
        if not (entry.notes or "").startswith(f"{_told(intervention)}; "):
            raise UserError(
                f"{where}: the notes do not say {intervention or _PLAIN!r}; a number made under an "
                "intervention is none of the plain model"
            )


def described(text: str) -> list[str]:
    """What a file says, an entry each: a metric that was not named is seen here."""
    return [
        f"{entry.dataset_id}:{entry.task_id} {entry.value:g} ({entry.notes})"
        for entry in parse_eval_result_entries(yaml.safe_load(text))
    ]


def _told(intervention: str) -> str:
    return f"with intervention {intervention}" if intervention else _PLAIN


def _documents(task: Task) -> str:
    """How many documents the number is over: data of one's own would show here."""
    count = max((len(rows) for rows in task.samples.values()), default=0)
    return f", {count} documents" if count else ""


def _entry(evidence: Evidence, one: Benchmark, source_url: str | None) -> EvalResultEntry:
    tasks = evidence.run.tasks  # a group's mean may be what a benchmark ranks by
    if one.task not in tasks:
        raise UserError(
            f"--hub-benchmark {one.task}: no such task in the run"
            f"{nearest(one.task, tuple(tasks))}; it has {', '.join(tasks)}"
        )
    if _CONTROL.fullmatch(one.task):
        raise UserError(
            f"--hub-benchmark {one.task}: a control that withholds the pictures is no number of "
            "the benchmark"
        )
    aggregates = tasks[one.task].aggregates
    found = [
        key for key in aggregates if one.metric in (None, key[0]) and one.filter in (None, key[1])
    ]
    if not found:
        raise UserError(
            f"--hub-benchmark {one.task}:{one.metric}: no such metric; there are "
            f"{', '.join(dict.fromkeys(metric for metric, _ in aggregates))}"
        )
    metric, name = found[0]
    run = evidence.run
    filtered = "" if name == "none" else f", filter {name}"
    notes = (
        f"{_told(evidence.intervention)}; {run.harness} {evidence.harness_version}, "
        f"task {one.task} {tasks[one.task].version}, metric {metric}{filtered}"
        f"{_documents(tasks[one.task])}; lmms-causal {run.causal_version or __version__}"
    )
    return EvalResultEntry(
        dataset_id=one.dataset_id,
        task_id=one.task_id,
        value=aggregates[metric, name],
        dataset_revision=one.revision,
        date=evidence.date or None,
        source_url=source_url,
        source_name="Files of the run" if source_url else None,
        notes=notes,
    )

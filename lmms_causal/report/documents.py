"""The table of documents: question, answers and scores of every run, small enough for one page."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.output.verdict import metric_name
from lmms_causal.compare.pairing.pairs import NotComparable, natural_order, pair_samples
from lmms_causal.compare.records import Sample, Task, score
from lmms_causal.compare.rows.row import Row
from lmms_causal.report.names import Named
from lmms_causal.report.shared_prompt import shared_ends

__all__ = ["Document", "Table", "collect", "to_data"]

_LONGEST_QUESTION = 4000
_LONGEST_ANSWER = 1500
_MOST_METRICS = 8
_MOST_FIELDS = 8
_FEWEST_VALUES, _MOST_VALUES = 2, 24
_LONGEST_VALUE = 60
#: Fields of a metric's record that are of the answer, also where all runs answered alike.
_OF_ANSWERS = frozenset(("score", "credit", "pred", "valid", "parsed"))
_QUESTIONS = ("question", "text", "prompt", "query")


@dataclass
class Document:
    """One document with what every run said.

    Attributes:
        table: Index of its task (and answer filter) in `Table.tasks`.
        sample: The document as the reference run recorded it.
        question: What was asked; "" when nobody recorded it.
        answers: The filtered answer of each run; None for a run without the document.
        scores: For each metric of its task, the score of each run.
        pictures: Pictures by index; filled in later.
        heat: Attention overlays: index of the run to index of the picture and a sentence.
    """

    table: int
    sample: Sample
    question: str
    answers: list[str | None]
    scores: list[list[float | None]]
    pictures: list[int] = field(default_factory=list)
    heat: dict[int, tuple[int, bool, str]] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether some run's answer or score is not the reference's."""
        return self.flipped or any(
            answer not in (None, self.answers[0]) for answer in self.answers[1:]
        )

    @property
    def flipped(self) -> bool:
        """Whether some run's score is not the reference's."""
        return any(
            value is not None and value != scores[0] for scores in self.scores for value in scores
        )


@dataclass
class Table:
    """All documents of a report.

    Attributes:
        tasks: For each task and filter its name, metrics and the fields it can be filtered by.
        documents: The documents, those of a task together.
        total: How many there are, shown or not.
    """

    tasks: list[dict[str, Any]]
    documents: list[Document]
    total: int = 0


def collect(comparisons: Sequence[Comparison], runs: Sequence[Named]) -> Table:
    """Pair the documents of all runs with the reference's.

    Only metrics that the comparisons have rows of are kept, and not those that repeat another one.
    """
    table = Table([], [])
    for (task, name), metrics in _metrics(comparisons).items():
        reference = comparisons[0].a.tasks[task]
        if name not in reference.samples:
            continue
        documents, varying = _documents(reference, name, metrics, comparisons, len(table.tasks))
        filters = len(reference.samples)
        table.tasks.append(
            {
                "task": task,
                "name": task if filters == 1 else f"{task} ({name})",
                "metrics": [
                    {
                        "name": metric_name(row),
                        "binary": _binary(documents, index),
                        "good": {True: 1, False: -1, None: 0}[row.higher_is_better],
                    }
                    for index, row in enumerate(metrics)
                ],
                "fields": _fields(documents, varying, comparisons[0].options.by),
            }
        )
        table.documents += documents
    table.total = len(table.documents)
    return table


def to_data(table: Table, runs: Sequence[Named], budget: int) -> tuple[dict[str, Any], int]:
    """Return the page's data, JSON-ready, and how many documents had to be left out.

    Texts are stored once and referred to by number; of questions, what all of a task begin and end
    with is told once for the task. When they outgrow `budget` characters,
    documents without any change are left out first, then the last ones.
    """
    texts: dict[str, int] = {}
    added: list[str] = []
    ends = [
        shared_ends([it.question for it in table.documents if it.table == index])
        for index in range(len(table.tasks))
    ]

    def text(value: str, longest: int) -> int:
        if len(value) > longest:
            value = f"{value[:longest]} … ({len(value) - longest:,} more characters)"
        if value not in texts:
            texts[value] = len(texts)
            added.append(value)
        return texts[value]

    kept: dict[int, list[Any]] = {}
    size = 0
    order = sorted(
        range(len(table.documents)),
        key=lambda i: (not table.documents[i].flipped, not table.documents[i].changed, i),
    )
    for index in order:
        document = table.documents[index]
        added.clear()
        attributes = document.sample.attributes
        before, after = ends[document.table]
        question = document.question.removeprefix(before).removesuffix(after)
        row = [
            document.table,
            document.sample.key or str(document.sample.doc_id),
            text(question, _LONGEST_QUESTION),
            text(document.sample.target, _LONGEST_ANSWER),
            [-1 if it is None else text(it, _LONGEST_ANSWER) for it in document.answers],
            [_packed(it) for it in document.scores],
            [
                text(_plain(attributes.get(it["name"])), _LONGEST_ANSWER)
                for it in table.tasks[document.table]["fields"]
            ],
            document.pictures,
            {str(run): list(found) for run, found in document.heat.items()},
        ]
        size += len(json.dumps(row)) + sum(map(len, added))
        if size > budget and kept:
            for value in added:
                del texts[value]
            break
        kept[index] = row
    data = {
        "runs": [{"key": it.key, "name": it.name} for it in runs],
        "tasks": [
            {**task, "before": before[:_LONGEST_QUESTION], "after": after[:_LONGEST_QUESTION]}
            for task, (before, after) in zip(table.tasks, ends, strict=True)
        ],
        "texts": list(texts),
        "documents": [kept[index] for index in sorted(kept)],
    }
    return data, len(table.documents) - len(kept)


def _metrics(comparisons: Sequence[Comparison]) -> dict[tuple[str, str], list[Row]]:
    """Rows over all documents by task and filter, each metric once, tested ones first."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for comparison in comparisons:
        for row in comparison.rows:
            if row.stratum is None and row.same_as is None and row.gained is not None:
                found.setdefault((row.task, row.filter), {}).setdefault(row.metric, row)
    return {key: list(rows.values())[:_MOST_METRICS] for key, rows in found.items()}


def _documents(
    reference: Task, name: str, metrics: Sequence[Row], comparisons: Sequence[Comparison], at: int
) -> tuple[list[Document], set[str]]:
    """The documents of a task, and the recorded fields that are not the same in every run."""
    samples = reference.samples[name]
    place = {id(sample): index for index, sample in enumerate(samples)}
    key = str(reference.config.get("score_key") or "score")
    runs = 1 + len(comparisons)
    documents = [
        Document(
            at,
            sample,
            _question(sample),
            [sample.response, *[None] * (runs - 1)],
            [[score(sample.metrics.get(row.metric), key), *[None] * (runs - 1)] for row in metrics],
        )
        for sample in samples
    ]
    varying: set[str] = set()
    for run, comparison in enumerate(comparisons, start=1):
        other = comparison.b.tasks.get(reference.name)
        if other is None or name not in other.samples:
            continue
        try:
            pairing = pair_samples(samples, other.samples[name], reference.name, intersect=True)
        except NotComparable:
            continue  # the comparison says so
        for left, right in pairing.pairs:
            document = documents[place[id(left)]]
            document.answers[run] = right.response
            document.question = document.question or _question(right)
            for index, row in enumerate(metrics):
                document.scores[index][run] = score(right.metrics.get(row.metric), key)
            for field_name, value in left.attributes.items():
                if right.attributes.get(field_name, value) != value:
                    varying.add(field_name)
    return documents, varying


def _question(sample: Sample) -> str:
    if sample.prompt:
        return sample.prompt
    found = (sample.attributes.get(name) for name in _QUESTIONS)
    return next((it for it in found if isinstance(it, str) and it), "")


def _fields(
    documents: Sequence[Document], varying: Container[str], first: Sequence[str]
) -> list[dict[str, Any]]:
    """Recorded facts about documents, of few values, that no answer changes; `first` come first."""
    values: dict[str, set[str]] = {}
    for document in documents:
        for key, value in document.sample.attributes.items():
            if key not in varying and key not in _OF_ANSWERS:
                values.setdefault(key, set()).add(_plain(value))
    usable = [
        key
        for key, found in values.items()
        if _FEWEST_VALUES <= len(found) <= _MOST_VALUES and max(map(len, found)) <= _LONGEST_VALUE
    ]
    usable.sort(key=lambda key: key not in first)
    return [
        {"name": key, "values": sorted(values[key], key=natural_order)}
        for key in usable[:_MOST_FIELDS]
    ]


def _binary(documents: Sequence[Document], metric: int) -> bool:
    return all(v in (None, 0.0, 1.0) for it in documents for v in it.scores[metric])


def _packed(scores: Sequence[float | None]) -> str | list[float | None]:
    """Scores of 0 and 1 as characters, one a run, "-" where there is none; else as numbers."""
    if all(value in (None, 0.0, 1.0) for value in scores):
        return "".join("-" if value is None else str(int(value)) for value in scores)
    return [None if value is None else float(f"{value:.5g}") for value in scores]


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

"""Single documents of a comparison: what each run answered, and whose score changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lmms_causal.compare.pairing.pairs import pair_samples
from lmms_causal.compare.records import Sample, Task, score

if TYPE_CHECKING:
    from lmms_causal.compare.comparison import Comparison


@dataclass(frozen=True)
class Flip:
    """A document whose score in one metric differs between A and B.

    Attributes:
        task: Task name.
        metric: Metric name.
        filter: Answer filter.
        id: Our own document id, else the row number as text.
        doc_id: Row number in the task's split (A's).
        change: "gained" when B scores higher, "lost" when lower.
        a: Score in A.
        b: Score in B.
        answer_a: Filtered answer of A.
        answer_b: Filtered answer of B.
        target: Expected answer.
    """

    task: str
    metric: str
    filter: str
    id: str
    doc_id: int
    change: Literal["gained", "lost"]
    a: float
    b: float
    answer_a: str
    answer_b: str
    target: str


@dataclass(frozen=True)
class DocumentPair:
    """A document as both runs answered it under one answer filter.

    Attributes:
        task: Task name.
        filter: Answer filter.
        id: Our own document id, else the row number as text.
        doc_id: Row number in the task's split (A's).
        prompt: The text asked, where the harness recorded it.
        target: Expected answer.
        answer_a: Filtered answer of A.
        answer_b: Filtered answer of B.
        scores: Score in A and in B by metric; None where the document does not count.
        attributes: Scalar facts about the document, as A recorded them.
    """

    task: str
    filter: str
    id: str
    doc_id: int
    prompt: str | None
    target: str
    answer_a: str
    answer_b: str
    scores: Mapping[str, tuple[float | None, float | None]]
    attributes: Mapping[str, Any]


def flips_of(
    task: Task, metric: str, filter_name: str, pairs: Sequence[tuple[Sample, Sample]]
) -> Iterator[Flip]:
    """The documents of a metric whose score changed, in A's order."""
    key = str(task.config.get("score_key") or "score")
    for left, right in pairs:
        a, b = (score(sample.metrics.get(metric), key) for sample in (left, right))
        if a is None or b is None or a == b:
            continue
        yield Flip(
            task=task.name,
            metric=metric,
            filter=filter_name,
            id=_id(left),
            doc_id=left.doc_id,
            change="gained" if b > a else "lost",
            a=a,
            b=b,
            answer_a=left.response,
            answer_b=right.response,
            target=left.target,
        )


def documents(comparison: Comparison) -> Iterator[DocumentPair]:
    """Every compared document, under each answer filter that has a row."""
    metrics: dict[tuple[str, str], list[str]] = {}
    for row in comparison.rows:
        if row.stratum is None:
            metrics.setdefault((row.task, row.filter), []).append(row.metric)
    for (name, filter_name), names in metrics.items():
        a, b = comparison.a.tasks[name], comparison.b.tasks[name]
        if a.is_group or filter_name not in a.samples or filter_name not in b.samples:
            continue
        key = str(a.config.get("score_key") or "score")
        pairing = pair_samples(
            a.samples[filter_name], b.samples[filter_name], name, comparison.options.intersect
        )
        for left, right in pairing.pairs:
            yield DocumentPair(
                task=name,
                filter=filter_name,
                id=_id(left),
                doc_id=left.doc_id,
                prompt=left.prompt if left.prompt is not None else right.prompt,
                target=left.target,
                answer_a=left.response,
                answer_b=right.response,
                scores={
                    metric: (
                        score(left.metrics.get(metric), key),
                        score(right.metrics.get(metric), key),
                    )
                    for metric in names
                },
                attributes=left.attributes,
            )


def _id(sample: Sample) -> str:
    return str(sample.doc_id) if sample.key is None else sample.key

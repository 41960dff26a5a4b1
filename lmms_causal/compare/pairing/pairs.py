"""Pair the documents of two runs, and refuse when they did not answer the same questions."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from lmms_causal.compare.records import Sample
from lmms_causal.errors import UserError

_SHOWN = 3


class NotComparable(UserError):
    """The documents of one task cannot be paired; other tasks of the runs may well be."""


@dataclass(frozen=True)
class Pairing:
    """Documents answered in both runs, in A's order.

    Attributes:
        pairs: (document in A, the same document in B).
        by: What identified them: "document id", "row and document hash" or "row and target".
        only_a: Number of documents left out because B lacks them (``--intersect`` only).
        only_b: Number of documents left out because A lacks them (``--intersect`` only).
        prompts_differ: Number of pairs whose recorded prompts differ.
        targets_differ: The pairs whose expected answers differ.
        repeated_ids: Whether documents have ids, but several of a run the same.
    """

    pairs: tuple[tuple[Sample, Sample], ...]
    by: str
    only_a: int = 0
    only_b: int = 0
    prompts_differ: int = 0
    targets_differ: tuple[tuple[Sample, Sample], ...] = ()
    repeated_ids: bool = False


def pair_samples(
    a: Sequence[Sample], b: Sequence[Sample], task: str, intersect: bool = False
) -> Pairing:
    """Pair the samples of one task and one filter.

    A document is identified by the id of ours that its metric values carry; without one, or where
    several documents of a run have the same, by its row in the split together with what else is
    recorded of it: the document hash where both runs have it, and the target. (lmms-eval's
    ``doc_hash`` is a constant and is never looked at.)

    Args:
        a: Samples of run A.
        b: Samples of run B.
        task: Task name, for the messages.
        intersect: Compare the documents both runs have instead of refusing.

    Raises:
        NotComparable: A run has no documents, the documents differ (another ``--limit``, other
            data), a run has one of them twice, or nothing is common.
    """
    require_documents(len(a), len(b), task)
    by, keys_a, keys_b, repeated = _keys(a, b)
    table_a = _table(a, keys_a, task, "A")
    table_b = _table(b, keys_b, task, "B")
    only_a = [key for key in table_a if key not in table_b]
    only_b = [key for key in table_b if key not in table_a]
    common = [key for key in table_a if key in table_b]
    if not common:
        raise NotComparable(
            f"task {task}: the two runs have no document in common (paired by {by}: {len(a)} in A, "
            f"{len(b)} in B); they used different data"
        )
    if (only_a or only_b) and not intersect:
        raise NotComparable(
            f"task {task}: the two runs answered different documents (paired by {by}): "
            f"{len(common)} in both, {_count(only_a, 'A')}, {_count(only_b, 'B')}; evaluate both "
            "with the same --limit and data, or compare the common documents with --intersect"
        )
    pairs = tuple((table_a[key], table_b[key]) for key in common)
    differ = sum(
        left.prompt != right.prompt
        for left, right in pairs
        if left.prompt is not None and right.prompt is not None
    )
    targets = tuple(pair for pair in pairs if pair[0].target != pair[1].target)
    return Pairing(pairs, by, len(only_a), len(only_b), differ, targets, repeated)


def require_documents(a: int, b: int, task: str) -> None:
    """Refuse a task of which a run has no documents, as a samples file without lines leaves it.

    Raises:
        NotComparable: Naming the run.
    """
    for run, count, other in (("A", a, b), ("B", b, a)):
        if not count:
            raise NotComparable(
                f"task {task}: run {run} has no documents of this task, the other run has {other}; "
                f"evaluate {run} again with --log_samples"
            )


def natural_order(text: str) -> list[tuple[bool, float, str]]:
    """Sorting key that puts "level 2" before "level 10"."""
    parts = re.split(r"(\d+)", text)
    return [(part.isdecimal(), float(part) if part.isdecimal() else 0.0, part) for part in parts]


def _keys(a: Sequence[Sample], b: Sequence[Sample]) -> tuple[str, list[Any], list[Any], bool]:
    """What identifies documents, in words; its values in A and B; whether ids are repeated."""
    both = [*a, *b]
    repeated = False
    if all(sample.key is not None for sample in both):
        keys = [[sample.key for sample in samples] for samples in (a, b)]
        repeated = any(len(set(some)) < len(some) for some in keys)
        if not repeated:
            return "document id", keys[0], keys[1], False
    if all(sample.doc_hash is not None for sample in both):
        return (
            "row and document hash",
            [(sample.doc_id, sample.doc_hash, sample.target) for sample in a],
            [(sample.doc_id, sample.doc_hash, sample.target) for sample in b],
            repeated,
        )
    return (
        "row and target",
        [(sample.doc_id, sample.target) for sample in a],
        [(sample.doc_id, sample.target) for sample in b],
        repeated,
    )


def _table(
    samples: Sequence[Sample], keys: Sequence[Hashable], task: str, run: str
) -> dict[Hashable, Sample]:
    table: dict[Hashable, Sample] = {}
    for key, sample in zip(keys, samples, strict=True):
        if key in table:
            raise NotComparable(
                f"task {task}: rows {table[key].doc_id} and {sample.doc_id} of run {run} are the "
                f"same document {key!r}; evaluate the run again into a folder of its own"
            )
        table[key] = sample
    return table


def _count(keys: Sequence[Any], run: str) -> str:
    if not keys:
        return f"0 only in {run}"
    names = [str(key[0] if isinstance(key, tuple) else key) for key in keys[:_SHOWN]]
    more = ", ..." if len(keys) > _SHOWN else ""
    return f"{len(keys)} only in {run} ({', '.join(names)}{more})"

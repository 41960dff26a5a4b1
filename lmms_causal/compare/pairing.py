"""Pair the documents of two runs, and refuse when they did not answer the same questions."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmms_causal.compare.records import CLUSTER_KEYS, Sample, Task
from lmms_causal.errors import UserError

_SHOWN = 3


@dataclass(frozen=True)
class Pairing:
    """Documents answered in both runs, in A's order.

    Attributes:
        pairs: (document in A, the same document in B).
        by: What identified them: "document id", "row and document hash" or "row and target".
        only_a: Number of documents left out because B lacks them (``--intersect`` only).
        only_b: Number of documents left out because A lacks them (``--intersect`` only).
        prompts_differ: Number of pairs whose recorded prompts differ.
    """

    pairs: tuple[tuple[Sample, Sample], ...]
    by: str
    only_a: int = 0
    only_b: int = 0
    prompts_differ: int = 0


def pair_samples(
    a: Sequence[Sample], b: Sequence[Sample], task: str, intersect: bool = False
) -> Pairing:
    """Pair the samples of one task and one filter.

    A document is identified by the id of ours that its metric values carry; without one, by its
    row in the split together with what else is recorded of it: the document hash where both runs
    have it, and the target. (lmms-eval's ``doc_hash`` is a constant and is never looked at.)

    Args:
        a: Samples of run A.
        b: Samples of run B.
        task: Task name, for the messages.
        intersect: Compare the documents both runs have instead of refusing.

    Raises:
        UserError: The documents differ (another ``--limit``, other data), two documents of a run
            share an id, or nothing is common.
    """
    by, keys_a, keys_b = _keys(a, b)
    table_a = _table(a, keys_a, task, "A")
    table_b = _table(b, keys_b, task, "B")
    only_a = [key for key in table_a if key not in table_b]
    only_b = [key for key in table_b if key not in table_a]
    common = [key for key in table_a if key in table_b]
    if not common:
        raise UserError(
            f"task {task}: the two runs have no document in common (paired by {by}: {len(a)} in A, "
            f"{len(b)} in B); they used different data"
        )
    if (only_a or only_b) and not intersect:
        raise UserError(
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
    return Pairing(pairs, by, len(only_a), len(only_b), differ)


def declared_cluster_key(task: Task) -> str | None:
    """The field that the task's configuration, or its ``metadata``, names as ``cluster_key``."""
    metadata = task.config.get("metadata")
    declared = task.config.get("cluster_key") or (
        metadata.get("cluster_key") if isinstance(metadata, Mapping) else None
    )
    return None if declared is None else str(declared)


def choose_cluster_key(
    samples: Sequence[Sample], preferred: str | None = None, requested: str | None = None
) -> str | None:
    """Name the attribute that says which documents are dependent, or None.

    Without a request: the task's own ``cluster_key``, else of the usual names (`CLUSTER_KEYS`)
    the one with the fewest values, because pairs are nested in sentences and these in images.
    A key that every document has to itself makes no clusters.

    Args:
        samples: Documents of the task.
        preferred: The task's ``cluster_key``.
        requested: ``--cluster KEY``; "none" switches clusters off.

    Raises:
        UserError: The requested key is not recorded for every document.
    """
    if requested == "none":
        return None
    if requested is not None:
        if not _everywhere(samples, requested):
            raise UserError(
                f"--cluster {requested}: not recorded for every document of task "
                f"{samples[0].task}; recorded are {_available(samples)}"
            )
        return requested
    if preferred and _everywhere(samples, preferred):
        return preferred
    present = [key for key in CLUSTER_KEYS if _everywhere(samples, key)]
    counts = {key: len({sample.attributes[key] for sample in samples}) for key in present}
    useful = [key for key in present if counts[key] < len(samples)]
    return min(useful, key=lambda key: counts[key]) if useful else None


def has_field(task: Task, key: str) -> bool:
    """Whether `key` is recorded for every document of the task."""
    samples = [sample for some in task.samples.values() for sample in some]
    return bool(samples) and _everywhere(samples, key)


def missing_field(option: str, task: Task) -> str:
    """The message for an option that names a field the task does not record."""
    samples = [sample for some in task.samples.values() for sample in some]
    return (
        f"{option}: not recorded for every document of task {task.name}; recorded are "
        f"{_available(samples)}"
    )


def natural_order(text: str) -> list[tuple[bool, float, str]]:
    """Sorting key that puts "level 2" before "level 10"."""
    parts = re.split(r"(\d+)", text)
    return [(part.isdigit(), float(part) if part.isdigit() else 0.0, part) for part in parts]


def stratify(samples: Sequence[Sample], key: str) -> list[str]:
    """Return each sample's value of `key` as text.

    Raises:
        UserError: `key` is not recorded for every document.
    """
    if not _everywhere(samples, key):
        raise UserError(
            f"--by {key}: not recorded for every document of task {samples[0].task}; recorded are "
            f"{_available(samples)}"
        )
    return [str(sample.attributes[key]) for sample in samples]


def _keys(a: Sequence[Sample], b: Sequence[Sample]) -> tuple[str, list[Any], list[Any]]:
    both = [*a, *b]
    if all(sample.key is not None for sample in both):
        return "document id", [sample.key for sample in a], [sample.key for sample in b]
    if all(sample.doc_hash is not None for sample in both):
        return (
            "row and document hash",
            [(sample.doc_id, sample.doc_hash, sample.target) for sample in a],
            [(sample.doc_id, sample.doc_hash, sample.target) for sample in b],
        )
    return (
        "row and target",
        [(sample.doc_id, sample.target) for sample in a],
        [(sample.doc_id, sample.target) for sample in b],
    )


def _table(
    samples: Sequence[Sample], keys: Sequence[Hashable], task: str, run: str
) -> dict[Hashable, Sample]:
    table: dict[Hashable, Sample] = {}
    for key, sample in zip(keys, samples, strict=True):
        if key in table:
            raise UserError(
                f"task {task}: rows {table[key].doc_id} and {sample.doc_id} of run {run} have the "
                f"same document id {key!r}; the ids of this task's documents must be unique"
            )
        table[key] = sample
    return table


def _count(keys: Sequence[Any], run: str) -> str:
    if not keys:
        return f"0 only in {run}"
    names = [str(key[0] if isinstance(key, tuple) else key) for key in keys[:_SHOWN]]
    more = ", ..." if len(keys) > _SHOWN else ""
    return f"{len(keys)} only in {run} ({', '.join(names)}{more})"


def _everywhere(samples: Sequence[Sample], key: str) -> bool:
    return all(key in sample.attributes for sample in samples)


def _available(samples: Sequence[Sample]) -> str:
    shared = set.intersection(*(set(sample.attributes) for sample in samples))
    return ", ".join(sorted(shared)) or "no attributes at all"

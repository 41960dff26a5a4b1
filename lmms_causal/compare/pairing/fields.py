"""The recorded fields by which documents are split and clustered: of the document, not the answer.

A field that the model decides (its score, what it was read to say) must not make groups. Documents
that A got wrong can only get better in B, so that two draws of one model would show a gain on
``score 0`` and a loss on ``score 1``: regression to the mean, not an effect.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from lmms_causal.compare.records import CLUSTER_KEYS, Sample, Task
from lmms_causal.errors import UserError

#: Fields of a metric's record that are of the answer, also where all runs answered alike.
ANSWER_FIELDS = frozenset(("score", "credit", "pred", "valid", "parsed"))

Pairs = Sequence[tuple[Sample, Sample]]


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

    Without a request: the task's own ``cluster_key``, else of the usual names (`CLUSTER_KEYS`, and
    an ``id`` that several documents have) the one with the fewest values, because pairs are nested
    in sentences and these in images. A key that every document has to itself makes no clusters.

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
    present = [key for key in (*CLUSTER_KEYS, "id") if _everywhere(samples, key)]
    counts = {key: len({sample.attributes[key] for sample in samples}) for key in present}
    useful = [key for key in present if counts[key] < len(samples)]
    return min(useful, key=lambda key: counts[key]) if useful else None


def has_field(task: Task, key: str) -> bool:
    """Whether `key` is recorded for every document of the task."""
    samples = [sample for some in task.samples.values() for sample in some]
    return bool(samples) and _everywhere(samples, key)


def missing_field(option: str, a: Task, b: Task) -> str:
    """The message for an option that names a field the task does not record."""
    samples = [sample for some in a.samples.values() for sample in some]
    decided = answer_fields(aligned(a, b), a)
    return (
        f"{option}: not recorded for every document of task {a.name}; recorded are "
        f"{_available(samples, decided)}"
    )


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


def answer_fields(pairs: Pairs, task: Task) -> frozenset[str]:
    """Fields that the model decides: known ones, and all whose value differs in A and B."""
    found = set(_reserved(task))
    for left, right in pairs:
        found.update(
            name
            for name, value in left.attributes.items()
            if name not in found and name in right.attributes and _differ(left, right, name, value)
        )
    return frozenset(found)


def refuse_answer_field(option: str, key: str, pairs: Pairs, task: Task) -> None:
    """Refuse to group documents by what the model said about them.

    Args:
        option: "--by" or "--cluster".
        key: The field asked for.
        pairs: Every document in A and B.
        task: Their task in A.

    Raises:
        UserError: The field is one of the answer, or its value differs between A and B.
    """
    changed = sum(
        key in left.attributes
        and key in right.attributes
        and _differ(left, right, key, left.attributes[key])
        for left, right in pairs
    )
    if key not in _reserved(task) and not changed:
        return
    why = f"differs between A and B on {changed} of {len(pairs)} documents"
    choices = _available([left for left, _ in pairs], answer_fields(pairs, task))
    raise UserError(
        f"{option} {key}: {'is of the answers' if key in _reserved(task) else why} of task "
        f"{task.name}, and groups that the model decides show effects where there are none; "
        f"recorded of the documents are {choices}"
    )


def aligned(a: Task, b: Task) -> list[tuple[Sample, Sample]]:
    """Documents that both runs have, by their id or row: enough to compare their fields."""
    other = {_place(sample): sample for some in b.samples.values() for sample in some}
    found = []
    for some in a.samples.values():
        found += [(it, other[place]) for it in some if (place := _place(it)) in other]
    return found


def _place(sample: Sample) -> tuple[Any, ...]:
    return sample.filter, sample.doc_id, sample.key


def _reserved(task: Task) -> frozenset[str]:
    return ANSWER_FIELDS | {str(task.config.get("score_key") or "score")}


def _differ(left: Sample, right: Sample, name: str, value: Any) -> bool:
    other = right.attributes[name]
    return bool(value != other) and str(value) != str(other)  # NaN is itself here


def _everywhere(samples: Iterable[Sample], key: str) -> bool:
    return all(key in sample.attributes for sample in samples)


def _available(samples: Sequence[Sample], left_out: Collection[str] = ANSWER_FIELDS) -> str:
    shared = set.intersection(*(set(sample.attributes) for sample in samples)) - set(left_out)
    return ", ".join(sorted(shared)) or "no fields at all"

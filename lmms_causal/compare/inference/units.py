"""What must stay whole when a metric that is no mean is resampled, and how the metric names it.

Resampling draws clusters of documents, and a cluster drawn twice must count as two. Task files say
which field names the clusters, but the metric's own records may name them otherwise (MuCR's
``family`` is the documents' ``pair_id``), and a metric may need more whole than that (VLind-Bench
counts complete instances of eight documents, its ``cluster_key`` is ``pair_id``). So the metric
is asked: see `stands_doubling`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmms_causal.compare.inference.resampling import Aggregate, Record, relabelled
from lmms_causal.compare.records import CLUSTER_KEYS, Sample


@dataclass(frozen=True)
class Units:
    """Independent units of a metric.

    Attributes:
        key: Recorded field that names them; None when every document is one.
        identifiers: Fields of the metric's records that tell units and documents apart.
    """

    key: str | None
    identifiers: frozenset[str]


def find_units(
    samples: Sequence[Sample],
    values: Sequence[Sequence[Record]],
    aggregate: Aggregate,
    key: str | None,
    left_out: Collection[str] = (),
) -> Units | None:
    """The finest clusters, not finer than those of `key`, by which the metric can be resampled.

    Args:
        samples: Documents of one run, which hold the recorded fields.
        values: The metric's records of each run, in the order of `samples`.
        aggregate: The metric.
        key: Field of the usual clusters; None for single documents.
        left_out: Fields that make no clusters, because they are of the answers.

    Returns:
        None when there are none.
    """
    coarser = [field for field in coarser_fields(samples, key) if field not in left_out]
    for field in (key, *coarser):
        names = {*CLUSTER_KEYS, *([] if field is None else [field])}
        if field is not None:
            labels = [sample.attributes[field] for sample in samples]
            names |= set.intersection(*(_aliases(records, labels) for records in values))
        if all(stands_doubling(records, aggregate, names) for records in values):
            return Units(field, frozenset(names))
    return None


def stands_doubling(
    values: Sequence[Record], aggregate: Aggregate, identifiers: Collection[str] = CLUSTER_KEYS
) -> bool:
    """Whether every document and a relabelled copy of it give the same metric (or, as sums, twice).

    A metric that can be resampled depends on how often kinds of documents occur, not on how many
    there are. One that fails groups documents by a field that is not among `identifiers`, whose
    copies it merges (complete sets then look incomplete), or is the end of an interval of its own,
    which narrows.
    """
    try:
        once = float(aggregate(list(values)))
        twice = float(
            aggregate([*values, *(relabelled(value, 1, identifiers) for value in values)])
        )
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return False  # an identifier that the metric reads as something else
    if math.isnan(once):
        return math.isnan(twice)
    return any(math.isclose(twice, n * once, rel_tol=1e-9, abs_tol=1e-9) for n in (1, 2))


def coarser_fields(samples: Sequence[Sample], key: str | None) -> list[str]:
    """Recorded texts that put whole clusters of `key` together, the finest grouping first."""
    found: dict[str, int] = {}
    for name in set(samples[0].attributes) if samples else ():
        if name == key or not all(isinstance(s.attributes.get(name), str) for s in samples):
            continue
        groups: dict[Hashable, Hashable] = {}
        for place, sample in enumerate(samples):
            cluster = place if key is None else sample.attributes[key]
            if groups.setdefault(cluster, sample.attributes[name]) != sample.attributes[name]:
                break
        else:
            count = len(set(groups.values()))
            if 1 < count < len(groups):
                found[name] = count
    return sorted(found, key=lambda name: (-found[name], name))


def _aliases(records: Sequence[Record], labels: Sequence[Any]) -> set[str]:
    """Fields that hold the label of the document's cluster in every record that has them."""
    same: set[str] = set()
    other: set[str] = set()
    for record, label in zip(records, labels, strict=True):
        if isinstance(record, Mapping):
            for name, value in record.items():
                alike = isinstance(value, str) and value == label
                (same if alike else other).add(name)
    return same - other

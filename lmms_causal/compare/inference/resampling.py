"""Paired inference for a metric that is not a mean over documents (consistency, bias, F1, ...).

The metric is a function of the whole list of document records. Both procedures move whole
clusters, so that a pair, an image or a sentence is never torn apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from lmms_causal.compare.inference.bca import acceleration_of, bca_interval
from lmms_causal.compare.inference.statistics import Interval
from lmms_causal.compare.records import CLUSTER_KEYS

#: A metric's value for one document: usually a dictionary, for some metrics a plain value.
Record = Any
Aggregate = Callable[[list[Record]], float]

#: Documents times resamples: bounds the time to seconds for each metric.
_BUDGET = 1_000_000
_MOST, FEWEST = 1_999, 399
#: Most jackknife values that are computed.
_BLOCKS = 200


def default_resamples(documents: int) -> int:
    """Number of resamples for a list of that many records: 399 to 1999, the same every time."""
    return int(np.clip(_BUDGET // max(1, documents), FEWEST, _MOST))


def aggregate_bootstrap_interval(
    a: Sequence[Record],
    b: Sequence[Record],
    clusters: Sequence[Hashable],
    aggregate: Aggregate,
    level: float = 0.95,
    seed: int = 0,
    resamples: int | None = None,
    identifiers: Collection[str] = CLUSTER_KEYS,
) -> Interval:
    """Expanded BCa cluster-bootstrap interval of ``aggregate(b) - aggregate(a)``.

    `lmms_causal.compare.inference.bca` has the formulas; the acceleration comes from a jackknife
    that leaves out clusters. The standard error is that of the resamples times
    ``sqrt(G / (G - 1))``, as it is for a mean of G clusters.

    A cluster that is drawn twice enters as two different clusters: the identifiers in its records
    (``id`` and `identifiers`) get a suffix, because an aggregation that groups by ``pair_id`` would
    otherwise merge the copies into one oversized pair.

    Args:
        a: Metric values of run A, one record a document.
        b: Metric values of run B for the same documents in the same order.
        clusters: Cluster label of each document.
        aggregate: The metric: list of records to number.
        level: Nominal coverage.
        seed: Seed of the draws.
        resamples: Number of draws; `default_resamples` when None.
        identifiers: Keys by which the aggregation may group records.
    """
    members = _members(clusters)
    count = default_resamples(len(a)) if resamples is None else resamples
    estimate = float(aggregate(list(b))) - float(aggregate(list(a)))
    groups = len(members)
    if groups < 2:
        nan = float("nan")
        return Interval(estimate, nan, nan, nan, level, groups, "bootstrap-bca")
    generator = np.random.default_rng(seed)
    copies: dict[tuple[int, int], tuple[list[Record], list[Record]]] = {}
    differences = np.empty(count)
    for draw in range(count):
        drawn_a: list[Record] = []
        drawn_b: list[Record] = []
        used: dict[int, int] = {}
        for group in generator.integers(groups, size=groups).tolist():
            copy = used[group] = used.get(group, -1) + 1
            if (group, copy) not in copies:
                rows = members[group]
                copies[group, copy] = (
                    [relabelled(a[row], copy, identifiers) for row in rows],
                    [relabelled(b[row], copy, identifiers) for row in rows],
                )
            left, right = copies[group, copy]
            drawn_a.extend(left)
            drawn_b.extend(right)
        differences[draw] = float(aggregate(drawn_b)) - float(aggregate(drawn_a))
    skew = _acceleration(a, b, members, aggregate)
    low, high = bca_interval(differences, estimate, skew, level, groups)
    error = float(differences.std(ddof=1)) * math.sqrt(groups / (groups - 1))
    return Interval(estimate, error, low, high, level, groups, "bootstrap-bca")


def _acceleration(
    a: Sequence[Record],
    b: Sequence[Record],
    members: Sequence[Sequence[int]],
    aggregate: Aggregate,
) -> float:
    """BCa acceleration by a jackknife that leaves out each cluster, or each of `_BLOCKS` blocks.

    Blocks bound the time for many clusters: m clusters together have 1/sqrt(m) of the skewness of
    one and there are m times fewer blocks, so that the formula gives the same number.
    """
    blocks = min(len(members), _BLOCKS)
    left_out = np.arange(len(members)) % blocks
    values = np.empty(blocks)
    for block in range(blocks):
        kept = [
            row for group in np.flatnonzero(left_out != block).tolist() for row in members[group]
        ]
        values[block] = float(aggregate([b[row] for row in kept])) - float(
            aggregate([a[row] for row in kept])
        )
    return acceleration_of(values)


def aggregate_swap_test(
    a: Sequence[Record],
    b: Sequence[Record],
    clusters: Sequence[Hashable],
    aggregate: Aggregate,
    seed: int = 0,
    resamples: int | None = None,
) -> float:
    """Two-sided p-value of ``aggregate(b) - aggregate(a)`` under swaps of A and B by cluster.

    Under "A and B are exchangeable within every cluster" each pattern of swaps is equally likely;
    p counts the sampled patterns at least as extreme as the data, the data among them.
    """
    members = _members(clusters)
    count = default_resamples(len(a)) if resamples is None else resamples
    observed = abs(float(aggregate(list(b))) - float(aggregate(list(a))))
    generator = np.random.default_rng(seed)
    extreme = 1
    for _ in range(count):
        left, right = list(a), list(b)
        for group in np.flatnonzero(generator.integers(2, size=len(members))).tolist():
            for row in members[group]:
                left[row], right[row] = right[row], left[row]
        difference = abs(float(aggregate(right)) - float(aggregate(left)))
        # Recomputed sums of the same numbers may differ in the last bits; a pattern under which the
        # metric is undefined (NaN) counts against the difference.
        extreme += not difference < observed * (1.0 - 1e-9)
    return extreme / (count + 1)


def _members(clusters: Sequence[Hashable]) -> list[list[int]]:
    members: dict[Hashable, list[int]] = {}
    for row, label in enumerate(clusters):
        members.setdefault(label, []).append(row)
    return list(members.values())


def relabelled(record: Record, copy: int, identifiers: Collection[str]) -> Record:
    """The record as that of another document: its identifiers get the number of the copy."""
    if copy == 0 or not isinstance(record, Mapping):
        return record
    return {
        key: f"{value}#{copy}" if key == "id" or key in identifiers else value
        for key, value in record.items()
    }

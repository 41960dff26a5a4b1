"""Rows that repeat the very scores of another row: shown, but not one more hypothesis.

The accuracy on a stratum is another metric's accuracy over all documents now and then, one metric
has two names, two fields split alike. Testing the same numbers twice would make Holm's correction
stricter for nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from lmms_causal.compare.rows.row import Row

#: Everything that two rows must share to be one test.
Signature = Hashable


def part_name(row: Row) -> str:
    """The row's name within its task and filter: its metric, and its part of the documents."""
    if row.stratum is None:
        return row.metric
    return f"{row.metric} on {row.by} {row.stratum}"


def signature(row: Row, members: Sequence[int], a: Sequence[Any], b: Sequence[Any]) -> Signature:
    """What makes a row the same test as another one of its task.

    The direction belongs to it: of an accuracy and an error rate with the same scores one improves
    and the other gets worse, and a loss of one is no harm to the other.

    Args:
        row: The row, tested.
        members: Places of the documents that count, among the paired ones.
        a: What A has for them: scores, or records of a metric that is no mean.
        b: The same of B.
    """
    digest = hashlib.sha256(np.asarray(members, dtype=np.int64).tobytes())
    for side in (a, b):
        digest.update(repr(list(side)).encode("utf-8", "surrogatepass") + b"\0")
    return (
        row.filter,
        row.test,
        row.units,
        row.factor,
        row.largest,
        row.higher_is_better,
        digest.digest(),
    )


def marked(rows: Sequence[tuple[Row, Signature | None]]) -> list[Row]:
    """The rows of a task, each that repeats another one with that one's name in ``same_as``.

    Rows over all documents come before parts, and the first of equals is the one that counts.

    Args:
        rows: Rows in their order, with None for those without a test.
    """
    first: dict[Signature, str] = {}
    for overall in (True, False):
        for row, sign in rows:
            if sign is not None and overall == (row.stratum is None):
                first.setdefault(sign, part_name(row))
    return [
        row
        if sign is None or first[sign] == part_name(row)
        else dataclasses.replace(row, same_as=first[sign])
        for row, sign in rows
    ]

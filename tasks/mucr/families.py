"""Families: items that tell the same story of others, so that only looks tell their pictures apart.

An item's wrong pictures are the right pictures of its three siblings. Rows of the older generation
name their siblings. In the newer one, items that follow each other by id and share the cue and its
rivals are a family; longer runs are cut into fours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from lmms_causal.errors import UserError
from lmms_causal.tasks.mucr.items import Item, id_order

__all__ = ["SEED", "SIZE", "Family", "families", "rank"]

SEED = "mucr-v1"
SIZE = 4


@dataclass(frozen=True)
class Family:
    """Whose pictures an item is asked among.

    Attributes:
        key: the smallest id of the siblings; strangers do not count.
        candidates: four items, the one that is asked about among them.
        complete: whether all four are siblings. If not, items of the same category stand in.
    """

    key: str
    candidates: tuple[Item, ...]
    complete: bool


def rank(*parts: str) -> bytes:
    """A place in an order that is fixed for ever and favours nobody: SHA-256 of seed and parts."""
    return hashlib.sha256(":".join((SEED, *parts)).encode()).digest()


def families(items: Sequence[Item]) -> dict[str, Family]:
    """Each item's family, by the item's id.

    Raises:
        UserError: fewer than four items, so that there are not four candidates.
    """
    if len(items) < SIZE:
        raise UserError(
            f"MuCR asks for one of {SIZE} pictures, and the data has {len(items)} items; give all"
        )
    known = {item.key: item for item in items}
    linked = {item.key: _linked(item, known) for item in items if item.links is not None}
    blocks = {
        item.key: block
        for block in _blocks(item for item in items if item.links is None)
        for item in block
    }
    return {
        item.key: _family(item, linked.get(item.key) or blocks[item.key], items) for item in items
    }


def _linked(item: Item, known: dict[str, Item]) -> tuple[Item, ...]:
    """The item and the siblings that it names and that there are, four at most."""
    others = dict.fromkeys(key for key in item.links or () if key in known and key != item.key)
    return tuple(sorted((item, *(known[key] for key in list(others)[: SIZE - 1])), key=_by_id))


def _blocks(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    ordered = sorted(items, key=_by_id)
    for _, run in groupby(ordered, key=lambda item: (item.cue, sorted(item.false_cues))):
        members = list(run)
        for start in range(0, len(members), SIZE):
            yield tuple(members[start : start + SIZE])


def _family(item: Item, siblings: tuple[Item, ...], items: Sequence[Item]) -> Family:
    key = siblings[0].key
    present = {sibling.key for sibling in siblings}
    strangers = (
        sorted(
            (other for other in items if other.key not in present),
            key=lambda other: (other.category != item.category, rank("fill", key, other.key)),
        )
        if len(siblings) < SIZE
        else []
    )
    candidates = (*siblings, *strangers[: SIZE - len(siblings)])
    return Family(key, candidates, complete=len(siblings) == SIZE)


def _by_id(item: Item) -> tuple[int, int, str]:
    return id_order(item.key)

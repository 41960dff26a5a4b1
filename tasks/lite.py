"""Small fixed parts of benchmarks: whole groups of documents, chosen by a hash of their name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["part_of"]

Document = TypeVar("Document", bound=Mapping[str, Any])


def part_of(docs: Sequence[Document], field: str, count: int) -> list[Document]:
    """The documents of ``count`` values of a field, in the order given.

    The values with the smallest SHA-256 are taken: a fixed choice that depends on neither the order
    nor the presence of others, so pairs and pictures stay whole.

    Args:
        docs: documents that have the field.
        field: what must not be torn apart, for example ``image_id``.
        count: how many different values to keep; all if there are fewer.
    """
    values = {str(doc[field]) for doc in docs}
    kept = set(sorted(values, key=lambda value: hashlib.sha256(value.encode()).digest())[:count])
    return [doc for doc in docs if str(doc[field]) in kept]

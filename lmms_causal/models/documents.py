"""The identity of a document, which both harnesses' requests carry under the same names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

__all__ = ["document_keys"]


def document_keys(requests: Sequence[Any]) -> list[str]:
    """Return ``task/document/n`` for every request, n counting repeats of the same document.

    The answers to one document (``idx``) share a key; sampling is seeded by it.
    """
    seen: Counter[tuple[Any, Any, int]] = Counter()
    keys = []
    for request in requests:
        identity = (request.task_name, request.doc_id, request.idx)
        keys.append(f"{request.task_name}/{request.doc_id}/{seen[identity]}")
        seen[identity] += 1
    return keys

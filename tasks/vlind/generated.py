"""``process_results``, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.vlind import scoring


def answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``vlind`` and its blind twin."""
    return scoring.score(doc, results[0])

"""``process_results``, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.mmhal import scoring


def answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``mmhal`` and its blind twin."""
    return scoring.score_answer(doc, results[0])

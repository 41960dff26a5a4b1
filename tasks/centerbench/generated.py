"""``process_results`` of the tasks, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.centerbench import scoring


def answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """All three tasks."""
    return scoring.score_answer(doc, results[0])

"""``process_results`` of the tasks that generate text, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.causal_vqa_mini import scoring


def answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """Every task but ``*_choice``."""
    return scoring.score_answer(doc, results[0])

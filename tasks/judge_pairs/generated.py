"""``process_results`` of the tasks that generate a verdict, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.judge_pairs import scoring


def verdict(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``*_names`` and ``*_letters``."""
    return scoring.score_verdict(doc, results[0])

"""``process_results`` of every task, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.vcrbench_causal import scoring


def answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``vcrbench_causal`` and its blind twin."""
    return scoring.score_answer(doc, results[0])


def renamed(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``vcrbench_causal_renamed`` and its blind twin."""
    return scoring.score_renamed(doc, results[0])

"""``process_results``, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.amber import official_scoring, scoring


def question(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``amber_discriminative`` and its blind twin."""
    return scoring.score_question(doc, results[0])


def description(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``amber_generative`` and its blind twin."""
    return scoring.score_description(doc, results[0])


def official_description(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``amber_generative_official`` and its blind twin."""
    return official_scoring.score_official(doc, results[0])

"""``process_results``, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.mme_subscores import scoring


def every_category(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``mme_subscores`` and its blind twin."""
    return scoring.score_all(doc, results[0])


def hallucination(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``mme_hallucination`` and its blind twin."""
    return scoring.score_hallucination(doc, results[0])

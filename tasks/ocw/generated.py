"""``process_results`` of every task, the same for both harnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks.ocw import scoring


def grouping(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``ocw_*grouping_*``."""
    return scoring.score_grouping(doc, results[0])


def connections(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """``ocw_connections_*``."""
    return scoring.score_connections(doc, results[0])

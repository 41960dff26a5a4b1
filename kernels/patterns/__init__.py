"""Patterns: which keys a query may see, one file each.

base.py      what a pattern is
context.py   what it is asked about
tiles.py     from a pattern to tile lists, ranges of keys, numbers of pairs
combine.py   and, or, without
"""

from __future__ import annotations

from lmms_causal.kernels.patterns.base import AttentionPattern
from lmms_causal.kernels.patterns.causal import Causal, Full
from lmms_causal.kernels.patterns.context import Context, Region
from lmms_causal.kernels.patterns.tiles import TilePlan, key_ranges, pairs, tile_plan

__all__ = [
    "AttentionPattern",
    "Causal",
    "Context",
    "Full",
    "Region",
    "TilePlan",
    "key_ranges",
    "pairs",
    "tile_plan",
]

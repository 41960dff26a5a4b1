"""Patterns: which keys a query may see, one file each; ``registry.py`` finds them by name.

base.py       what a pattern is
context.py    what it is asked about
tiles.py      from a pattern to tile lists, ranges of keys, numbers of pairs
combine.py    and, or, without
distance.py, inside.py   what several patterns are made from
per_layer.py  a pattern for each layer
spec.py       texts such as ``power(window=5)+dense@0,1``
picture.py    what a pattern looks like
"""

from __future__ import annotations

from lmms_causal.kernels.patterns.base import AttentionPattern
from lmms_causal.kernels.patterns.causal import Causal, Full
from lmms_causal.kernels.patterns.concentric import Concentric
from lmms_causal.kernels.patterns.context import Context, Region
from lmms_causal.kernels.patterns.custom import Custom
from lmms_causal.kernels.patterns.document import Document
from lmms_causal.kernels.patterns.longnet import LongNet
from lmms_causal.kernels.patterns.modality_mutual import ModalityMutual
from lmms_causal.kernels.patterns.neighborhood import Neighborhood
from lmms_causal.kernels.patterns.per_layer import PerLayer
from lmms_causal.kernels.patterns.power import PowerOfTwo
from lmms_causal.kernels.patterns.prefix import Prefix
from lmms_causal.kernels.patterns.rectangle import Rectangle, ranges_where
from lmms_causal.kernels.patterns.s2 import S2
from lmms_causal.kernels.patterns.segments import Segments
from lmms_causal.kernels.patterns.spec import parse_pattern, pattern_text
from lmms_causal.kernels.patterns.strides import Dilated, StrideSlash
from lmms_causal.kernels.patterns.tiles import TilePlan, key_ranges, pairs, tile_plan
from lmms_causal.kernels.patterns.window import SlidingWindow

__all__ = [
    "S2",
    "AttentionPattern",
    "Causal",
    "Concentric",
    "Context",
    "Custom",
    "Dilated",
    "Document",
    "Full",
    "LongNet",
    "ModalityMutual",
    "Neighborhood",
    "PerLayer",
    "PowerOfTwo",
    "Prefix",
    "Rectangle",
    "Region",
    "Segments",
    "SlidingWindow",
    "StrideSlash",
    "TilePlan",
    "key_ranges",
    "pairs",
    "parse_pattern",
    "pattern_text",
    "ranges_where",
    "tile_plan",
]

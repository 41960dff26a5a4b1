"""Attention over groups of interchangeable segments: PINE and its relatives."""

from lmms_causal.kernels.segments.importance import (
    segment_importance,
    token_importance,
    unrotated_keys,
)
from lmms_causal.kernels.segments.layout import Block, SegmentLayout
from lmms_causal.kernels.segments.operator import segment_attention
from lmms_causal.kernels.segments.placement import Order, Placement, shifts
from lmms_causal.kernels.segments.sight import Visible

__all__ = [
    "Block",
    "Order",
    "Placement",
    "SegmentLayout",
    "Visible",
    "segment_attention",
    "segment_importance",
    "shifts",
    "token_importance",
    "unrotated_keys",
]

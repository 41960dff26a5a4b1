"""Sliding window: the last keys, and leading ones that stay (attention sinks).

Beltagy et al., "Longformer", arXiv 2004.05150; sinks after Xiao et al., "Efficient Streaming
Language Models with Attention Sinks", arXiv 2309.17453.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lmms_causal.kernels.patterns.context import Context
from lmms_causal.kernels.patterns.distance import DistancePattern
from lmms_causal.kernels.patterns.limits import require
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["SlidingWindow"]


@pattern("window", example="window(32,sink=4)")
@dataclass(frozen=True)
class SlidingWindow(DistancePattern):
    """``0 <= i - j < window, or j <= i and j < sink``.

    Without sinks a head has ``N (N + 1) / 2 - (N - W) (N - W + 1) / 2`` pairs for ``N > W``.

    Attributes:
        window: keys seen, the query's own counted, as ``sliding_window`` of transformers does.
        sink: leading tokens that are always seen.
    """

    block: ClassVar[int] = 1

    window: int
    sink: int = 0

    def __post_init__(self) -> None:
        require("window", 1, window=self.window)
        require("window", 0, sink=self.sink)

    def seen(self, delta: Tensor) -> Tensor:
        """The nearest tokens."""
        return delta < self.window

    def stretches(self, context: Context, i: int) -> Sequence[tuple[int, int]]:
        """The sinks and the window, one range where they touch."""
        behind = min(i + 1, context.keys)
        first, sinks = max(0, i + 1 - self.window), min(self.sink, behind)
        if sinks >= first:
            return [(0, behind)] if behind > 0 else []
        return [it for it in ((0, sinks), (first, behind)) if it[0] < it[1]]

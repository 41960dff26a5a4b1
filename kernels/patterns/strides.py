"""Strided baselines: a window with slashes at multiples of a stride, and a dilated window.

As the baselines of "PowerAttention", arXiv 2503.03588, with blocks; the ideas are those of
"Sparse Transformers", arXiv 1904.10509, and of dilated windows in "Longformer", arXiv 2004.05150.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lmms_causal.kernels.patterns.distance import DistancePattern
from lmms_causal.kernels.patterns.limits import require
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["Dilated", "StrideSlash"]


@pattern("stride_slash", example="stride_slash(block=16,window=2,stride=4)")
@dataclass(frozen=True)
class StrideSlash(DistancePattern):
    """``j <= i and (delta < window or j // block < sink or delta mod stride == 0)``.

    Attributes:
        block: tokens in a block.
        window: nearest blocks seen, the query's own counted.
        stride: distance in blocks between slashes, which are parallel to the diagonal.
        sink: leading blocks seen.
    """

    block: int = 256
    window: int = 6
    stride: int = 32
    sink: int = 1

    def __post_init__(self) -> None:
        require("stride_slash", 1, block=self.block, window=self.window, stride=self.stride)
        require("stride_slash", 0, sink=self.sink)

    def seen(self, delta: Tensor) -> Tensor:
        """The nearest blocks, and those at multiples of the stride."""
        return (delta < self.window) | (delta % self.stride == 0)


@pattern("dilated", example="dilated(block=16,window=6,step=2)")
@dataclass(frozen=True)
class Dilated(DistancePattern):
    """``j <= i and (delta < window and delta mod step == 0 or j // block < sink)``.

    Attributes:
        block: tokens in a block.
        window: how far back the window goes, in blocks; ``ceil(window / step)`` of them are seen.
        step: distance of blocks that are seen.
        sink: leading blocks seen; the baseline has none.
    """

    block: int = 256
    window: int = 20
    step: int = 2
    sink: int = 0

    def __post_init__(self) -> None:
        require("dilated", 1, block=self.block, window=self.window, step=self.step)
        require("dilated", 0, sink=self.sink)

    def seen(self, delta: Tensor) -> Tensor:
        """Every so many of the nearest blocks."""
        return (delta < self.window) & (delta % self.step == 0)

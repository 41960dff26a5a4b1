"""PowerAttention: a window, the first block, and blocks at distances that are powers of two.

"PowerAttention", arXiv 2503.03588, algorithm 1. With blocks of one token a query
sees ``log2 N`` keys, and what was said ``n`` tokens ago reaches it through as many layers as ``n``
has binary ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lmms_causal.kernels.patterns.distance import DistancePattern
from lmms_causal.kernels.patterns.limits import require
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["PowerOfTwo"]


@pattern("power", example="power(block=16,window=2)")
@dataclass(frozen=True)
class PowerOfTwo(DistancePattern):
    """``j <= i and (delta < window or j // block < sink or delta in {0, 1, 2, 4, 8, ...})``.

    ``delta = i // block - j // block``. The defaults are the paper's, for Qwen2-7B at 32k. It was
    trained: without, the paper's passkey probe fails.

    Attributes:
        block: tokens in a block.
        window: nearest blocks seen, the query's own counted.
        sink: leading blocks seen.
    """

    block: int = 256
    window: int = 5
    sink: int = 1

    def __post_init__(self) -> None:
        require("power", 1, block=self.block, window=self.window)
        require("power", 0, sink=self.sink)

    def seen(self, delta: Tensor) -> Tensor:
        """The nearest blocks, and those whose distance has at most one binary one."""
        return (delta < self.window) | (delta & (delta - 1) == 0)

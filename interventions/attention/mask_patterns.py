"""What the masks of models are made of, as patterns: windows, chunks, blocks that see each other.

Positions are those of a row's content, as everywhere in :mod:`lmms_causal.kernels`. Two further
patterns place another one: in a cache that has forgotten the first keys, and in a text whose answer
must not be seen from before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lmms_causal.kernels.patterns import AttentionPattern, Context
from lmms_causal.kernels.patterns.base import Grid, classified

__all__ = ["Ahead", "InBlock", "Moved", "NotBefore", "SameChunk", "Written"]


@dataclass(frozen=True)
class NotBefore(AttentionPattern):
    """``j > i - window``: the half of a sliding window that closes; what is ahead it leaves open.

    Attributes:
        window: keys a query may look back to, itself included.
    """

    window: int

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether the key has not left the window."""
        return j > i - self.window

    def states(self, context: Context, grid: Grid) -> Tensor:
        """All where the farthest pair is near enough, none where the nearest is not."""
        near = grid.k_high > grid.q_low - self.window
        return classified(grid.k_low > grid.q_high - self.window, near)[None]


@dataclass(frozen=True)
class SameChunk(AttentionPattern):
    """``i // size == j // size``, as in layers of Llama 4.

    Attributes:
        size: positions in a chunk.
    """

    size: int

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether both are in one chunk."""
        return i // self.size == j // self.size

    def states(self, context: Context, grid: Grid) -> Tensor:
        """All where the ends of both stretches are in one chunk, none where the chunks differ."""
        q_low, q_high = grid.q_low // self.size, grid.q_high // self.size
        k_low, k_high = grid.k_low // self.size, grid.k_high // self.size
        meet = (q_low <= k_high) & (k_low <= q_high)
        return classified((q_low == k_high) & (q_high == k_low), meet)[None]


@dataclass(frozen=True)
class Ahead(AttentionPattern):
    """``j > i``."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether the key is after the query."""
        return j > i

    def states(self, context: Context, grid: Grid) -> Tensor:
        """All above the diagonal, none below it."""
        return classified(grid.k_low > grid.q_high, grid.k_high > grid.q_low)[None]


@dataclass(frozen=True)
class InBlock(AttentionPattern):
    """Both in one of some stretches, as the patches of one picture in Gemma 3.

    Attributes:
        spans: ``(start, stop)`` of each, ascending, without overlap.
    """

    spans: tuple[tuple[int, int], ...]

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether one stretch holds both."""
        own = self._block_of(i)
        return (own == self._block_of(j)) & (own >= 0)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """All of a tile that lies in one stretch, none where no stretch is met by both sides."""
        shape = (grid.q_low.shape[0], grid.k_low.shape[1])
        every = torch.zeros(shape, dtype=torch.bool)
        anything = torch.zeros(shape, dtype=torch.bool)
        for start, stop in self.spans:
            inside = (grid.q_low >= start) & (grid.q_high < stop)
            every |= inside & (grid.k_low >= start) & (grid.k_high < stop)
            met = (grid.q_high >= start) & (grid.q_low < stop)
            anything |= met & (grid.k_high >= start) & (grid.k_low < stop)
        return classified(every, anything)[None]

    def _block_of(self, positions: Tensor) -> Tensor:
        """The stretch each position is in; -1 for none."""
        if not self.spans:
            return torch.full_like(positions, -1)
        starts, stops = torch.tensor(self.spans, device=positions.device).unbind(1)
        index = torch.searchsorted(starts.contiguous(), positions.contiguous(), right=True) - 1
        inside = (index >= 0) & (positions < stops[index.clamp(min=0)])
        return torch.where(inside, index, -1)


@dataclass(frozen=True)
class Moved(AttentionPattern):
    """A pattern where the first ``by`` keys are gone: what is called position 0 is position ``by``.

    Regions keep the positions they have in the whole text.

    Attributes:
        pattern: of the whole text.
        by: how many keys are missing before the first.
    """

    pattern: AttentionPattern
    by: int

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether the pattern allows the pairs, ``by`` positions later."""
        return self.pattern.allowed(self._whole(context), h, i + self.by, j + self.by)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """The states of the tiles moved."""
        by = self.by
        moved = Grid(
            *(ends + by for ends in (grid.q_low, grid.q_high, grid.k_low, grid.k_high)),
            grid.q_positions + by,
            grid.k_positions + by,
        )
        return self.pattern.states(self._whole(context), moved)

    def planes(self, context: Context) -> int:
        """As the pattern's."""
        return self.pattern.planes(self._whole(context))

    def check(self, context: Context) -> None:
        """The pattern must be applicable to the whole text."""
        self.pattern.check(self._whole(context))

    def _whole(self, context: Context) -> Context:
        return replace(context, keys=context.keys + self.by, offset=context.offset + self.by)


@dataclass(frozen=True)
class Written(AttentionPattern):
    """``j <= max(i, prompt - 1)``: the prompt at most, and of an answer what is there already.

    Attributes:
        prompt: number of positions that are prompt.
    """

    prompt: int

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether the key is there when the query is computed."""
        return (j <= i) | (j < self.prompt)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """All left of the prompt's end and below the diagonal."""
        every = (grid.k_high <= grid.q_low) | (grid.k_high < self.prompt)
        return classified(every, (grid.k_low <= grid.q_high) | (grid.k_low < self.prompt))[None]

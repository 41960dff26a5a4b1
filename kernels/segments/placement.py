"""Where PINE puts segments: the order by importance, and how far each one moves.

All positions are the model's own, of its ordinary run. In text a segment takes as many positions
as tokens; a picture in a model with M-RoPE takes fewer, so lengths in positions are read off the
positions themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.segments.layout import Block

__all__ = ["Order", "Placement", "settled", "shifts"]

Order = Literal["importance", "reverse", "sequential", "stacked"]


@dataclass(frozen=True)
class Placement:
    """A group's segments in the ordinary run.

    Attributes:
        starts: position of each segment's first token.
        extents: positions that each takes.
        end: position of the first token after the group, ``E``.
    """

    starts: tuple[int, ...]
    extents: tuple[int, ...]
    end: int

    @classmethod
    def of(cls, group: Sequence[Block], positions: Tensor) -> Placement:
        """Read it off the positions ``[n]`` or ``[axes, n]`` of all columns.

        Raises:
            UserError: a segment does not take a positive number of positions.
        """
        line = positions if positions.dim() == 1 else positions[0]
        edges = [block.start for block in group]
        after = group[-1].stop
        if after < line.shape[0]:
            starts = [int(place) for place in line[[*edges, after]].tolist()]
        else:  # nothing follows: the next token would take the next position of any axis
            starts = [int(place) for place in line[edges].tolist()]
            starts.append(int(positions[..., edges[-1] : after].max()) + 1)
        extents = tuple(b - a for a, b in pairwise(starts))
        if min(extents) < 1:
            raise UserError(
                f"the segments in columns {edges[0]}..{after} take {extents} positions; "
                "segments need positions that grow along the row"
            )
        return cls(tuple(starts[:-1]), extents, starts[-1])

    def stacked(self, index: int) -> int:
        """How far segment ``index`` moves to end right before the text after the group."""
        return self.end - self.extents[index] - self.starts[index]

    def moves(self, shift: Tensor) -> Tensor:
        """How far each segment moves ``[..., k]``, given its shift ``[..., k]``."""
        stacked = [self.stacked(index) for index in range(len(self.starts))]
        return torch.tensor(stacked, device=shift.device) - shift


def settled(importance: Tensor, group: Sequence[Block], dtype: torch.dtype) -> Tensor:
    """Return importances in which equals differ, by the ranks of the segments.

    Segments of the same words in another order are equally important in a decoder's first layer,
    where keys without rotation depend on nothing but the token. Prompt order, or rounding, would
    decide there. So importances are multiplied by ``1 + rank * tolerance``: what is equal up to
    rounding goes by rank, and nothing else changes. (Our choice: the paper takes ties to be rare.)

    Args:
        importance: of each segment ``[..., k]``.
        group: the segments.
        dtype: of the model, whose rounding the tolerance is above.
    """
    ranks = [block.rank for block in group]
    if not any(ranks):
        return importance
    tolerance = max(64 * torch.finfo(torch.float32).eps, 4 * torch.finfo(dtype).eps)
    return importance * (1 + tolerance * torch.tensor(ranks, device=importance.device))


def shifts(
    importance: Tensor, extents: Sequence[int], own: int | None = None, reverse: bool = False
) -> Tensor:
    """Return how many positions each segment is put back: those of all segments ranked before it.

    Paper: PINE (arXiv 2407.01100), section 3.3. The most important segment comes closest to the
    query, a query's own segment closer still; equals keep the order of the prompt.

    Args:
        importance: of each segment ``[..., k]``.
        extents: positions that each segment takes, ``k`` of them.
        own: the segment that the query is in, which is ranked first.
        reverse: put the least important segment closest (the paper's ablation).

    Returns:
        Whole numbers ``[..., k]``.
    """
    keys = -importance if reverse else importance.clone()
    if own is not None:
        keys[..., own] = torch.inf
    ranking = keys.argsort(dim=-1, descending=True, stable=True)
    ranked = torch.tensor(extents, device=keys.device)[ranking]
    return torch.empty_like(ranking).scatter_(-1, ranking, ranked.cumsum(-1) - ranked)

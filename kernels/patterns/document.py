"""Packed documents: several texts in one sequence, which do not see each other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.base import AttentionPattern, Grid, classified
from lmms_causal.kernels.patterns.context import Context
from lmms_causal.kernels.patterns.limits import require
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["Document"]


@pattern("document", example="document(lengths=50x30x90)")
@dataclass(frozen=True)
class Document(AttentionPattern):
    """``j <= i and document(i) == document(j)``: ``sum n (n + 1) / 2`` pairs a head.

    Attributes:
        lengths: of the documents, from the beginning; what follows is one more. Empty to take the
            regions of a name, between which what there is is a document too.
        name: of the regions.
    """

    lengths: tuple[int, ...] = ()
    name: str = "document"

    def __post_init__(self) -> None:
        require("document", 1, lengths=self.lengths)

    def check(self, context: Context) -> None:
        """Documents are known."""
        if not self.lengths and not context.named(self.name):
            raise UserError(
                f"pattern document: the prompt has no region {self.name!r}; give one for each "
                "document, or their lengths"
            )

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether the key is not after the query, and in its document."""
        bounds = self._bounds(context)
        return (j <= i) & (_number(bounds, i) == _number(bounds, j))

    def states(self, context: Context, grid: Grid) -> Tensor:
        """By the first and the last document that tiles meet."""
        bounds = self._bounds(context)
        q_first, q_last = _number(bounds, grid.q_low), _number(bounds, grid.q_high)
        k_first, k_last = _number(bounds, grid.k_low), _number(bounds, grid.k_high)
        same = (q_first == q_last) & (k_first == k_last) & (q_first == k_first)
        meet = (q_first <= k_last) & (k_first <= q_last)
        return classified(same & (grid.k_high <= grid.q_low), meet & (grid.k_low <= grid.q_high))[
            None
        ]

    def _bounds(self, context: Context) -> tuple[int, ...]:
        """Where documents begin and end."""
        if self.lengths:
            return tuple(accumulate(self.lengths))
        regions = context.named(self.name)
        return tuple(sorted({end for one in regions for end in (one.start, one.stop)}))


def _number(bounds: tuple[int, ...], x: Tensor) -> Tensor:
    """The number of the document that positions are in."""
    number = torch.zeros_like(x)
    for bound in bounds:
        number = number + (x >= bound)
    return number

"""What a pattern is: which keys a query may see, said once, and asked in several ways.

A pattern says for pairs of positions whether they are allowed (``allowed``), and for tiles of pairs
whether all, none or some are (``states``). The first is its meaning. The second must never
contradict it and may always answer *some*: what it cannot tell is looked up pair by pair, in those
tiles only. All else follows: tile lists, ranges of keys, numbers of pairs, pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lmms_causal.kernels.patterns.context import Context

if TYPE_CHECKING:
    from lmms_causal.kernels.patterns.combine import Both, Either, Without

__all__ = ["ALL", "NONE", "SOME", "AttentionPattern", "Grid"]

NONE, SOME, ALL = 0, 1, 2
"""States of a tile: no pair of it is allowed, some may be, all are."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Tiles of pairs, as the least and greatest positions in them, both included.

    Tiles need not be contiguous: where tokens are reordered, what is between the ends of a tile may
    belong to others. An answer that holds for the whole stretch holds for a tile of it.

    Attributes:
        q_low: ``[nq, 1]``, int64.
        q_high: ``[nq, 1]``.
        k_low: ``[1, nk]``.
        k_high: ``[1, nk]``.
        q_positions: ``[nq, bq]`` of the queries of each tile; past the end the last is repeated.
        k_positions: ``[nk, bk]`` of the keys likewise.
    """

    q_low: Tensor
    q_high: Tensor
    k_low: Tensor
    k_high: Tensor
    q_positions: Tensor
    k_positions: Tensor

    @classmethod
    def of(cls, q_positions: Tensor, k_positions: Tensor) -> Grid:
        """The grid of tiles that hold these positions, ``[nq, bq]`` and ``[nk, bk]``."""
        return cls(
            q_positions.amin(1)[:, None],
            q_positions.amax(1)[:, None],
            k_positions.amin(1)[None],
            k_positions.amax(1)[None],
            q_positions,
            k_positions,
        )


class AttentionPattern(ABC):
    """Which keys a query may see. Patterns are frozen records of their parameters, and hashable."""

    @abstractmethod
    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Whether query heads ``h`` at positions ``i`` may see positions ``j``.

        Args:
            context: the call.
            h: int64 tensors that broadcast against each other, as are ``i`` and ``j``.
            i: positions of queries.
            j: positions of keys.

        Returns:
            bool, broadcastable to the common shape.
        """

    def states(self, context: Context, grid: Grid) -> Tensor:
        """The states of tiles, int8 ``[planes, nq, nk]`` or broadcastable to it.

        The answer for a plane holds for its heads. By default nothing is known.
        """
        return torch.full((1, 1, 1), SOME, dtype=torch.int8)

    def planes(self, context: Context) -> int:
        """How many different masks there are: 1, one for each key head, or for each query head.

        Query head ``h`` has mask ``h * planes // heads``.
        """
        return 1

    def stretches(self, context: Context, i: int) -> Sequence[tuple[int, int]] | None:
        """The keys of one query as half-open ranges, ascending and apart, if there is one plane.

        None where there is no closed form: then pairs are looked at. Worth it for patterns that
        every step of decoding asks.
        """
        return None

    def order(self, context: Context) -> Tensor | None:
        """An order of positions in which allowed pairs fill tiles better, int64 ``[keys]``.

        Asked only of calls in which every position is a query. Softmax does not care for the order
        of keys, so a backend may compute in it and put the outputs back. None for the plain order.
        """
        return None

    def check(self, context: Context) -> None:  # noqa: B027 most can always be applied
        """Raise ``UserError`` if the pattern cannot be applied to this call."""

    def __str__(self) -> str:
        """The text of the pattern, which ``spec.parse_pattern`` reads back."""
        from lmms_causal.kernels.patterns.spec import pattern_text

        return pattern_text(self)

    def __and__(self, other: AttentionPattern) -> Both:
        from lmms_causal.kernels.patterns.combine import Both

        return Both(self, other)

    def __or__(self, other: AttentionPattern) -> Either:
        from lmms_causal.kernels.patterns.combine import Either

        return Either(self, other)

    def __sub__(self, other: AttentionPattern) -> Without:
        from lmms_causal.kernels.patterns.combine import Without

        return Without(self, other)


def representative(context: Context, planes: int, device: torch.device | None = None) -> Tensor:
    """The first query head of each plane, int64 ``[planes]``."""
    return torch.arange(planes, device=device) * (context.heads // planes)


def classified(every: Tensor, anything: Tensor) -> Tensor:
    """States from two bool tensors: whether all pairs are allowed, and whether any may be."""
    states = anything.to(torch.int8)
    return states + (every & anything).to(torch.int8)

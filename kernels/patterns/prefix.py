"""Prefix attention: causal, but the parts of a prefix, or of each picture, all see each other.

The prefix language model of Raffel et al., "T5", arXiv 1910.10683, as in PaliGemma; with pictures
as regions it is what Gemma 3 does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.kernels.patterns.context import Context, Region
from lmms_causal.kernels.patterns.inside import InsidePattern
from lmms_causal.kernels.patterns.limits import require
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["Prefix"]


@pattern("prefix", example="prefix(24)")
@dataclass(frozen=True)
class Prefix(InsidePattern):
    """``j <= i, or i and j in one region``.

    A prefix of ``p`` tokens adds ``p (p - 1) / 2`` pairs to a head's causal ones.

    Attributes:
        length: tokens from the beginning that are the region; 0 to take those of a name.
        inside: name of the regions.
    """

    length: int = 0
    inside: str = "prefix"

    def __post_init__(self) -> None:
        require("prefix", 0, length=self.length)

    def regions(self, context: Context) -> tuple[Region, ...]:
        """The prefix, or the regions of the name.

        Raises:
            UserError: neither a length nor such a region is given.
        """
        if self.length:
            return (Region("prefix", 0, self.length),)
        return self._named(context, "prefix", self.inside, "give one, or a length=TOKENS")

    def check(self, context: Context) -> None:
        """There is a prefix."""
        self.regions(context)

    def within(self, region: Region, i: Tensor, j: Tensor) -> Tensor:
        """True."""
        return torch.ones((), dtype=torch.bool, device=i.device)

    def within_states(self, region: Region, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """All."""
        every = torch.ones(len(q), len(k), dtype=torch.bool)
        return every, every

"""Concentric causal attention: a picture is read from its edge to its centre, ring by ring.

Xing et al., "Mitigating Object Hallucination via Concentric Causal Attention", NeurIPS 2024, arXiv
2410.15926; code xing0047/cca-llava. The paper also numbers positions by rings, which is no matter
of who sees whom, and trains with both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.context import Context, Region
from lmms_causal.kernels.patterns.inside import InsidePattern
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["Concentric", "rings"]


@pattern("concentric")
@dataclass(frozen=True)
class Concentric(InsidePattern):
    """Within a picture ``ring(j) <= ring(i)``, elsewhere ``j <= i``.

    ``ring = min(r, c, rows - 1 - r, columns - 1 - c)`` is 0 at the edge: what is further out never
    sees what is further in, and a ring sees all of itself.

    Attributes:
        inside: name of the regions in which this holds.
    """

    inside: str = "image"

    def regions(self, context: Context) -> tuple[Region, ...]:
        """The pictures.

        Raises:
            UserError: there is none.
        """
        return self._named(context, "concentric", self.inside, "give one with its rows and columns")

    def check(self, context: Context) -> None:
        """All pictures have rows and columns."""
        for region in self.regions(context):
            if len(region.grid) != 2:
                raise UserError(
                    f"pattern concentric: region {region.name} has {len(region.grid)} axes; rings "
                    "need rows and columns"
                )

    def within(self, region: Region, i: Tensor, j: Tensor) -> Tensor:
        """Whether the key is not in a ring further in."""
        return _ring(region, j) <= _ring(region, i)

    def within_states(self, region: Region, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Exactly, by the least and the greatest ring of tiles."""
        of_q, of_k = _ring(region, q), _ring(region, k)
        return (
            of_k.amax(1)[None] <= of_q.amin(1)[:, None],
            of_k.amin(1)[None] <= of_q.amax(1)[:, None],
        )

    def arrangement(self, region: Region) -> Tensor | None:
        """Rings one after the other, in which this is causal but for the rings themselves."""
        return _ring(region, torch.arange(region.stop - region.start)).argsort(stable=True)


def rings(rows: int, columns: int, place: Tensor) -> Tensor:
    """Return the rings of places in raster order, 0 at the edge; of ``place``'s shape."""
    r, c = place // columns, place % columns
    across = torch.minimum(c, columns - 1 - c)
    return torch.minimum(torch.minimum(r, rows - 1 - r), across)


def _ring(region: Region, place: Tensor) -> Tensor:
    rows, columns = region.grid
    return rings(rows, columns, place)

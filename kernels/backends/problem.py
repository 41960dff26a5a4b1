"""One call of attention, as every backend takes it, and what a backend is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lmms_causal.kernels.edits import Edits
from lmms_causal.kernels.patterns import AttentionPattern, Context

__all__ = ["Backend", "Problem"]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be computed: ``softmax(scale q k^T, over what the pattern allows) v``.

    Attributes:
        q: ``[B, H, m, d]``; the last stride is 1, the others are free.
        k: ``[B, H_k, n, d]``, of all positions from 0.
        v: ``[B, H_k, n, e]``.
        context: shapes, position of the first query, regions.
        pattern: which keys a query may see.
        edits: of scores, weights and heads.
        scale: factor of the products.
        softcap: ``s -> softcap * tanh(s / softcap)`` on scaled scores, before edits.
        lse: whether the log-sum-exp of the (edited) scores is wanted.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    context: Context
    pattern: AttentionPattern
    edits: Edits
    scale: float
    softcap: float | None
    lse: bool

    @property
    def decoding(self) -> bool:
        """Whether a few queries meet a long cache."""
        return self.context.queries <= 8 < self.context.keys


class Backend(Protocol):
    """One way to compute attention.

    Attributes:
        name: what users call it.
    """

    name: str

    def missing(self) -> str | None:
        """Why it cannot run on this machine at all, or None."""

    def verify(self, problem: Problem) -> str | None:
        """Why it cannot serve this problem, or None. Cheap, and computes nothing."""

    def run(self, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Compute.

        Returns:
            Outputs ``[B, H, m, e]`` of ``q``'s type, a query that sees nothing having 0, and if
            asked the log-sum-exp ``[B, H, m]`` in float32 (float64 for float64), ``-inf`` there.
        """

"""What is measured: one pattern at one shape, in one of four kinds.

The kinds are those of CAB (arXiv 2210.07661). In ours, *cross* is when queries are fewer than keys:

    causal-self      n queries, n keys, as when a prompt is read
    causal-cross     the last m queries against n keys, as when a cache is there already
    noncausal-self   n queries, n keys, and later keys may be seen, as in a vision encoder
    noncausal-cross  m queries against n keys of something else

Beside each stands the fastest dense attention that torch has for the shape: its fused kernel, told
that it is causal in the first kind, and without a mask in the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lmms_causal.errors import UserError, nearest
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.edits import NO_EDITS
from lmms_causal.kernels.patterns import AttentionPattern, Context, Region, pairs

__all__ = ["DTYPES", "KINDS", "Case", "Kind", "dtype_named", "kind_named"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Kind:
    """One of the four."""

    name: str
    causal: bool
    cross: bool


KINDS = {
    kind.name: kind
    for kind in (
        Kind("causal-self", True, False),
        Kind("causal-cross", True, True),
        Kind("noncausal-self", False, False),
        Kind("noncausal-cross", False, True),
    )
}


def kind_named(name: str) -> Kind:
    """The kind of a name.

    Raises:
        UserError: there is none.
    """
    if name not in KINDS:
        raise UserError(f"--kind {name}: take {', '.join(KINDS)}{nearest(name, KINDS)}")
    return KINDS[name]


def dtype_named(name: str) -> torch.dtype:
    """The type of a name, short or long.

    Raises:
        UserError: there is none.
    """
    full = _SHORT.get(name, name)
    if full not in DTYPES:
        known = [*DTYPES, *_SHORT]
        raise UserError(f"--dtype {name}: take {', '.join(known)}{nearest(name, known)}")
    return DTYPES[full]


@dataclass(frozen=True)
class Case:
    """One pattern at one shape.

    Attributes:
        kind: which of the four.
        label: the pattern as the user wrote it.
        pattern: the pattern.
        dtype: of queries, keys and values.
        queries: ``m``.
        keys: ``n``.
        heads: query heads ``H``.
        kv_heads: key heads ``H_k``.
        width: ``d``, of keys and values.
        batch: ``B``.
        regions: where pictures and questions are.
    """

    kind: Kind
    label: str
    pattern: AttentionPattern
    dtype: torch.dtype
    queries: int
    keys: int
    heads: int = 8
    kv_heads: int = 8
    width: int = 64
    batch: int = 1
    regions: tuple[Region, ...] = ()

    @property
    def context(self) -> Context:
        """What the pattern is told."""
        offset = self.keys - self.queries
        return Context(self.queries, self.keys, offset, self.heads, self.kv_heads, self.regions)

    @property
    def pairs(self) -> int:
        """Allowed pairs, summed over heads and batch."""
        return pairs(self.pattern, self.context) * self.batch

    @property
    def dense_pairs(self) -> int:
        """Pairs that torch's dense attention computes here."""
        m, n = self.queries, self.keys
        each = n * (n + 1) // 2 if self.kind.causal and not self.kind.cross else m * n
        return each * self.heads * self.batch

    @property
    def flops(self) -> int:
        """Operations that cannot be avoided: ``pairs * 2 (d + e)``."""
        return self.pairs * 4 * self.width

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Random queries ``[B, H, m, d]``, keys and values ``[B, H_k, n, d]``."""
        generator = torch.Generator().manual_seed(self.keys)
        sizes = ((self.heads, self.queries), (self.kv_heads, self.keys), (self.kv_heads, self.keys))
        q, k, v = (
            torch.randn(self.batch, h, n, self.width, generator=generator).to(self.dtype)
            for h, n in sizes
        )
        return q, k, v

    def problem(self, q: Tensor, k: Tensor, v: Tensor) -> Problem:
        """The call as backends are asked about it."""
        scale = self.width**-0.5
        return Problem(q, k, v, self.context, self.pattern, NO_EDITS, scale, None, False)

    def dense(self, q: Tensor, k: Tensor, v: Tensor) -> Callable[[], Tensor]:
        """Torch's dense attention on these tensors."""
        causal = self.kind.causal and not self.kind.cross
        grouped = self.heads != self.kv_heads

        def run() -> Tensor:
            return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)

        return run

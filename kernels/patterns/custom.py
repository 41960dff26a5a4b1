"""Any mask function, such as one written for ``flex_attention``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lmms_causal.kernels.patterns.base import AttentionPattern
from lmms_causal.kernels.patterns.context import Context

__all__ = ["Custom"]

_MANY = 8192 * 8192


@dataclass(frozen=True)
class Custom(AttentionPattern):
    """What a function allows. Nothing is known of its tiles, so all pairs are looked at once.

    ``Custom(f) & Causal()`` looks only at those that are not after the query. Two are equal if
    their functions are the same object; make a function once, not once a call, for plans are kept.

    Attributes:
        function: ``(b, h, i, j)`` of int64 tensors that broadcast to bool, the mask function of
            ``flex_attention``. ``b`` is always 0.
        name: for reading.
        differs_by: whether heads differ, and how: not at all, by ``kv_head`` or by ``head``.
    """

    function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    name: str = "custom"
    differs_by: Literal["nothing", "kv_head", "head"] = "nothing"

    def planes(self, context: Context) -> int:
        """As said."""
        return {"nothing": 1, "kv_head": context.kv_heads, "head": context.heads}[self.differs_by]

    def check(self, context: Context) -> None:
        """Warn if there is much to look at."""
        if context.queries * context.keys > _MANY:
            warnings.warn(
                f"pattern {self.name}: all {context.queries} x {context.keys} pairs are looked at; "
                "join it by & with a pattern that leaves few, or write one (docs/add-a-pattern.md)",
                stacklevel=3,
            )

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """What the function says."""
        return self.function(torch.zeros_like(h), h, i, j)

    def __str__(self) -> str:
        return self.name

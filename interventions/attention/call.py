"""One call of an attention module's attention function, as a record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lmms_causal.errors import UserError
from lmms_causal.interventions.attention.sight import Sight, dense

__all__ = ["Call", "for_all_heads"]


@dataclass(frozen=True)
class Call:
    """What a module hands to its attention function.

    Attributes:
        module: the attention module.
        query: ``[B, H, q, d]``, rotated.
        key: ``[B, H_kv, n, d]``, rotated, of all tokens seen so far.
        value: ``[B, H_kv, n, d]``.
        given: the mask as a tensor, a :class:`~.sight.Sight` that stands for one, or None.
        options: further keywords of the call.
        original: the implementation the model had.
        fused: whether that is a fused kernel, rather than written-out attention.
        output: ``[B, q, H, d]``, before the output projection, where it is known.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    given: Tensor | Sight | None
    options: Mapping[str, Any]
    original: Callable[..., Any]
    fused: bool
    output: Tensor | None = None

    @property
    def mask(self) -> Tensor | None:
        """The mask as the original implementation takes it: bool, additive, or None for causal (or
        full) attention. It is made when asked for."""
        return dense(self.given)

    @property
    def sight(self) -> Sight | None:
        """What the mask says, where that is known without its tensor."""
        return self.given if isinstance(self.given, Sight) else None

    @property
    def scale(self) -> float:
        """What products are multiplied by."""
        scaling = self.options.get("scaling")
        return float(self.query.shape[-1] ** -0.5 if scaling is None else scaling)

    @property
    def softcap(self) -> float | None:
        """The bound of the scores, as in Gemma 2."""
        cap: float | None = self.options.get("softcap")
        return cap

    @property
    def window(self) -> int | None:
        """The layer's sliding window in tokens."""
        window = self.options.get("sliding_window")
        return None if window is None else int(window)

    def plain(self) -> Tensor:
        """What the original implementation computes, ``[B, q, H, d]``."""
        output: Tensor = self.original(
            self.module, self.query, self.key, self.value, self.given, **self.options
        )[0]
        return output

    def of(self, rows: slice) -> Call:
        """The call for some rows of the batch."""
        if len(range(*rows.indices(len(self.query)))) == len(self.query):
            return self
        given = self.given
        if isinstance(given, Sight):
            given = given.of(rows)
        elif given is not None and given.shape[0] > 1:
            given = given[rows]
        return replace(
            self,
            query=self.query[rows],
            key=self.key[rows],
            value=self.value[rows],
            given=given,
        )

    def of_heads(self, heads: Tensor) -> Call:
        """The call for some query heads ``[h]``, each with keys and values of its own."""
        shared = heads // (self.query.shape[1] // self.key.shape[1])
        given = self.given
        if isinstance(given, Tensor) and given.shape[1] > 1:
            given = given[:, heads]
        return replace(
            self,
            query=self.query[:, heads],
            key=self.key[:, shared],
            value=self.value[:, shared],
            given=given,
        )

    def allowed(self, queries: slice | Tensor) -> Tensor:
        """What some queries may see, ``[B, 1 or H, r, n]`` bool.

        Args:
            queries: indices ``[r]`` of this call's queries, or a slice of them.
        """
        batch, length, count = len(self.query), self.query.shape[2], self.key.shape[2]
        mask = self.mask
        if mask is not None:
            mask = mask[..., queries, :count]
            allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
            return allowed.expand(batch, -1, -1, -1)
        rows = torch.arange(length, device=self.query.device)[queries]
        causal = self.options.get("is_causal")
        if causal is None:
            causal = getattr(self.module, "is_causal", True)
        keys = torch.arange(count, device=rows.device)
        last = rows[:, None] + (count - length) if causal and length > 1 else count
        return (keys[None] <= last).expand(batch, 1, len(rows), count)

    def scores(self, queries: slice | Tensor) -> Tensor:
        """Scores of some queries ``[B, H, r, n]``, float32 or wider, not yet masked.

        Raises:
            UserError: the model has attention sinks that are parameters.
        """
        if self.options.get("s_aux") is not None:
            raise UserError(
                f"{type(self.module).__name__} has learned attention sinks; its weights can be "
                "neither edited nor read"
            )
        query = self.query[:, :, queries]
        scores = query @ for_all_heads(self.key, query.shape[1]).transpose(2, 3)
        if scores.dtype != torch.float64:
            scores = scores.float()
        scores = scores * self.scale
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        mask = self.mask
        if mask is not None and mask.dtype != torch.bool:
            added = mask[..., queries, : self.key.shape[2]].to(scores.dtype)
            scores = scores + added.masked_fill(~self.allowed(queries), 0.0)
        return scores

    def weights(self, queries: slice | Tensor) -> Tensor:
        """Weights of some queries ``[B, H, r, n]``, float32 or wider; 0 where all is hidden."""
        return softmax_over(self.scores(queries), self.allowed(queries))


def softmax_over(scores: Tensor, allowed: Tensor) -> Tensor:
    """Return the softmax of each row over what is allowed; 0 where that is nothing."""
    return scores.masked_fill(~allowed, -math.inf).softmax(dim=-1).nan_to_num(0.0)


def for_all_heads(states: Tensor, heads: int) -> Tensor:
    """Return keys or values ``[R, H_kv, n, d]`` as ``[R, H, n, d]``, repeated for their groups."""
    groups = heads // states.shape[1]
    return states.repeat_interleave(groups, dim=1) if groups > 1 else states

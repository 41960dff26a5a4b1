"""Layers and heads that the parameters of a method name, together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.edits import Where
from lmms_causal.interventions.attention.heads import ALL_HEADS, Heads, parse_heads, query_heads
from lmms_causal.interventions.attention.spans import ALL, Span
from lmms_causal.interventions.layers import beyond, listed_layers

__all__ = ["Selected"]


@dataclass(frozen=True)
class Selected:
    """Heads of some layers.

    Attributes:
        layers: the layers named, counted from 0, in order; None for all.
        heads: the heads.
    """

    layers: tuple[int, ...] | None = None
    heads: Heads = ALL_HEADS

    @classmethod
    def named(cls, method: str, layers: str | None = None, heads: str = "all") -> Selected:
        """Read the parameters ``layers`` and ``heads`` of a method.

        Raises:
            UserError: one of them is not of its form.
        """
        chosen = None if layers is None else listed_layers(method, "layers", layers)
        return cls(chosen, parse_heads(method, "heads", heads))

    def of(self, depth: int) -> Sequence[int]:
        """The layers in which there are heads chosen, in a decoder of ``depth`` layers."""
        layers = range(depth) if self.layers is None else self.layers
        return [layer for layer in layers if self.heads.of(layer) != frozenset()]

    def where(self, queries: Span = ALL, keys: Span = ALL) -> Where:
        """These heads, for some queries and keys."""
        return Where(self.of, self.heads, queries, keys)

    def beyond(self, adapter: ModelAdapter) -> str | None:
        """Return why a model has no such layers or heads, or None."""
        if self.layers is not None:
            reason = beyond("layers", self.layers, adapter.depth, "decoder layers")
            if reason is not None:
                return reason
        return self.heads.beyond(adapter.depth, query_heads(adapter))

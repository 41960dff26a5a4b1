"""A pattern for each layer: one for most, others for some."""

from __future__ import annotations

from dataclasses import dataclass

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.base import AttentionPattern

__all__ = ["PerLayer"]


@dataclass(frozen=True)
class PerLayer:
    """Which pattern each layer has, as of models that mix sparse and dense ones.

    Attributes:
        default: of all layers not named.
        others: pairs of a layer and its pattern. Layers are counted from 0, or from -1 backwards.
    """

    default: AttentionPattern
    others: tuple[tuple[int, AttentionPattern], ...] = ()

    def __post_init__(self) -> None:
        named = [layer for layer, _ in self.others]
        twice = [layer for layer in named if named.count(layer) > 1]
        if twice:
            raise UserError(f"patterns per layer: layer {twice[0]} is named twice; name it once")

    def layers(self, depth: int) -> tuple[AttentionPattern, ...]:
        """The pattern of each of ``depth`` layers.

        Raises:
            UserError: a layer is beyond them, or is named from both ends.
        """
        found: dict[int, AttentionPattern] = {}
        for named, pattern in self.others:
            layer = named + depth if named < 0 else named
            if not 0 <= layer < depth:
                raise UserError(
                    f"patterns per layer: layer {named} of {depth}; they are counted from 0, and "
                    "backwards from -1"
                )
            if layer in found:
                raise UserError(
                    f"patterns per layer: layer {layer} of {depth} is named as {layer - depth} "
                    "too; name it once"
                )
            found[layer] = pattern
        return tuple(found.get(layer, self.default) for layer in range(depth))

    def __str__(self) -> str:
        from lmms_causal.kernels.patterns.spec import pattern_text

        return pattern_text(self)

"""What each branch's pass is given: tokens, masks and positions, then a share of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.contributions import Branch
from lmms_causal.interventions.edits import tokens
from lmms_causal.interventions.engine.cache import BranchedCache
from lmms_causal.interventions.engine.encoding import Pictures
from lmms_causal.interventions.engine.scopes import FACTUAL, Scopes

__all__ = ["BranchInputs"]


class BranchInputs:
    """Makes the forward inputs of all branches of one call, step by step.

    Args:
        adapter: the model.
        pictures: what branches are shown.
        scopes: follow what becomes of each branch's tokens.

    Attributes:
        step: index of the pass, from 0.
        prompt_length: columns of the factual prompts; None if unknown.
    """

    def __init__(self, adapter: ModelAdapter, pictures: Pictures, scopes: Scopes) -> None:
        self.step = -1
        self.prompt_length: int | None = None
        self._adapter = adapter
        self._pictures = pictures
        self._scopes = scopes
        self._masks: dict[str, Tensor] = {}
        self._positions: dict[str, Tensor] = {}

    def grow(self) -> None:
        """Take another token into every mask."""
        self._masks = {
            name: torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            for name, mask in self._masks.items()
        }

    def of(
        self, branch: Branch, inputs: Mapping[str, Any], cache: BranchedCache | None
    ) -> dict[str, Any]:
        """Return the inputs of one branch in a pass of its own."""
        own = dict(inputs)
        decoding = cache is not None and self.step > 0
        if cache is not None:
            own["past_key_values"] = cache.branches[branch.name]
        else:
            own["use_cache"] = False
        if branch.tokens is not None and decoding:
            mask = self._masks[branch.name]
            own["attention_mask"] = None if mask.all() else mask
            if inputs.get("position_ids") is not None:
                own["position_ids"] = self._position_of(branch, inputs["position_ids"])
            return own
        if branch.tokens is not None:
            labelled = self._scopes.labelled(own)
            own = tokens.edited(labelled, branch.tokens, self._adapter, self.prompt_length)
            self._scopes.take_labels(branch.name, own)
            if cache is not None:
                self._masks[branch.name] = own["attention_mask"]
                if "position_ids" in own:
                    self._positions[branch.name] = own["position_ids"][..., -1:]
        if not branch.keeps_pictures and not decoding:
            self._pictures.show(branch, own)
        return own

    def join(
        self, inputs: Mapping[str, Any], branches: Sequence[Branch], cache: BranchedCache
    ) -> None:
        """Make one batch of the caches, for all steps that follow."""
        factual = self._masks.get(FACTUAL, _mask_of(inputs))
        masks = [factual, *(self._masks.get(branch.name, factual) for branch in branches)]
        width = max(mask.shape[1] for mask in masks)
        stacked = [pad(mask.long(), (width - mask.shape[1], 0)) for mask in masks]
        cache.stack([branch.name for branch in branches])
        self._scopes.stack(dict.fromkeys((FACTUAL, *(it.name for it in branches)), width))
        self._masks = {FACTUAL: torch.cat(stacked)}

    def stacked(
        self, inputs: Mapping[str, Any], branches: Sequence[Branch], rows: int
    ) -> dict[str, Any]:
        """Return the inputs of one step of all branches as one batch, the factual rows first."""
        own: dict[str, Any] = {}
        for name, value in inputs.items():
            if isinstance(value, Tensor) and value.ndim and value.shape[0] == rows:
                value = torch.cat([value] * (1 + len(branches)))
            own[name] = value
        mask = self._masks[FACTUAL]
        own["attention_mask"] = None if mask.all() else mask
        positions = inputs.get("position_ids")
        if positions is not None:
            own["position_ids"] = torch.cat(
                [positions, *(self._position_of(branch, positions) for branch in branches)], dim=-2
            )
        return own

    def _position_of(self, branch: Branch, factual: Tensor) -> Tensor:
        """Positions ``[..., B, 1]`` of the newest token in a branch's own prompt."""
        if branch.name not in self._positions:
            return factual
        return self._positions[branch.name] + self.step


def _mask_of(inputs: Mapping[str, Any]) -> Tensor:
    mask: Tensor | None = inputs.get("attention_mask")
    return torch.ones_like(inputs["input_ids"]) if mask is None else mask

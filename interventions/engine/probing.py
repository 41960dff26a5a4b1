"""Passes made once before the factual one: what other prompts leave in the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.observing import head_outputs
from lmms_causal.interventions.contributions import Branch, Probe
from lmms_causal.interventions.edits.alignment import edited_and_aligned
from lmms_causal.interventions.edits.hidden import recorded
from lmms_causal.interventions.engine.encoding import Pictures

__all__ = ["Probed", "probed"]


@dataclass(frozen=True)
class Probed:
    """What one probe found.

    Attributes:
        heads: by layer, outputs of all heads ``[B, H, d]`` at the prompt's last token; at all
            tokens, ``[B, L', H, d]``, if the probe names the layers.
        states: by layer, outputs ``[B, L', D]`` at all tokens.
        vision: by block of the vision encoder, attention ``[pictures, 2, T]`` to each token.
        counterparts: for each column ``[B, L]`` of the factual prompt the column of the probe's
            prompt that stands for it; -1 for none.
    """

    heads: Mapping[int, Tensor] = field(default_factory=dict)
    states: Mapping[int, Tensor] = field(default_factory=dict)
    vision: Mapping[int, Tensor] = field(default_factory=dict)
    counterparts: Tensor | None = None


def probed(
    adapter: ModelAdapter,
    forward: Callable[..., Any],
    probe: Probe,
    prompt: Mapping[str, Any],
    pictures: Pictures,
) -> Probed:
    """Run one probe.

    Args:
        adapter: the model.
        forward: its own forward pass.
        probe: what to run, and what to keep.
        prompt: the factual model inputs, without an answer.
        pictures: of the call.
    """
    own = dict(prompt)
    vision: Mapping[int, Tensor] = {}
    if probe.vision is not None:
        vision = pictures.attention(own, probe.vision(len(adapter.blocks)))
    if not probe.reads:
        return Probed(vision=vision)
    ids = own["input_ids"]
    counterparts = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    if probe.tokens is not None:
        own, counterparts = edited_and_aligned(own, probe.tokens, adapter)
    if probe.media is not None:
        pictures.show(Branch(probe.name, media=probe.media), own)
    own["use_cache"] = False
    own.pop("past_key_values", None)
    if "logits_to_keep" in own:
        own["logits_to_keep"] = 1
    layers = () if probe.layers is None else probe.layers(adapter.depth)
    heads: Mapping[int, Tensor] = {}
    with ExitStack() as stack:
        states = stack.enter_context(recorded(adapter.layers, layers))
        if probe.outputs is not None:
            wanted = probe.outputs(adapter.depth)
            heads = stack.enter_context(head_outputs(adapter.attention, last=False, of=wanted))
        elif probe.heads:
            heads = stack.enter_context(head_outputs(adapter.attention))
        forward(**own)
    return Probed(heads, states, vision, counterparts)

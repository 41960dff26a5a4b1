"""Passes made once before the factual one: what other prompts leave in the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.observing import head_outputs
from lmms_causal.interventions.contributions import Probe
from lmms_causal.interventions.edits import tokens
from lmms_causal.interventions.edits.hidden import recorded

__all__ = ["Probed", "probed"]


@dataclass(frozen=True)
class Probed:
    """What one probe found.

    Attributes:
        heads: by layer, outputs of all heads ``[B, H, d]`` at the prompt's last token.
        states: by layer, outputs ``[B, L', D]`` at all tokens.
    """

    heads: Mapping[int, Tensor] = field(default_factory=dict)
    states: Mapping[int, Tensor] = field(default_factory=dict)


def probed(
    adapter: ModelAdapter, forward: Callable[..., Any], probe: Probe, prompt: Mapping[str, Any]
) -> Probed:
    """Run one probe.

    Args:
        adapter: the model.
        forward: its own forward pass.
        probe: what to run, and what to keep.
        prompt: the factual model inputs, without an answer.
    """
    own = dict(prompt)
    if probe.tokens is not None:
        own = tokens.edited(own, probe.tokens, adapter, None)
    if probe.media is not None:
        own.update(probe.media(own))
    own["use_cache"] = False
    own.pop("past_key_values", None)
    if "logits_to_keep" in own:
        own["logits_to_keep"] = 1
    layers = () if probe.layers is None else probe.layers(adapter.depth)
    heads: Mapping[int, Tensor] = {}
    with ExitStack() as stack:
        states = stack.enter_context(recorded(adapter.layers, layers))
        if probe.heads:
            heads = stack.enter_context(head_outputs(adapter.attention))
        forward(**own)
    return Probed(heads, states)

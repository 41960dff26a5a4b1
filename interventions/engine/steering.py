"""The vectors that steer: what the pictures of a prompt change in each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.edits import tokens
from lmms_causal.interventions.edits.hidden import recorded
from lmms_causal.interventions.plan import Steering

__all__ = ["steering_vectors"]


def steering_vectors(
    adapter: ModelAdapter,
    forward: Callable[..., Any],
    steering: Steering,
    prompt: Mapping[str, Any],
    with_image: Tensor,
) -> dict[int, Tensor]:
    """Return ``h(prompt) - h(negative prompt)`` ``[B, 1, D]`` at the last token, layer by layer.

    Two passes. The vector is zero where both prompts leave a layer in the same state.

    Args:
        adapter: the model.
        forward: its own forward pass.
        steering: names the negative prompt and the layers.
        prompt: the model inputs, without an answer.
        with_image: which rows have an image, ``[B]`` bool.
    """
    assert steering.negative.tokens is not None
    layers = range(adapter.depth) if steering.layers is None else steering.layers(adapter.depth)
    negative = tokens.edited(prompt, steering.negative.tokens, adapter, None)
    states = []
    for given in (prompt, negative):
        own = {**given, "use_cache": False}
        own.pop("past_key_values", None)
        if "logits_to_keep" in own:
            own["logits_to_keep"] = 1
        with recorded(adapter.layers, layers) as outputs:
            forward(**own)
        states.append({i: output[:, -1:].float() for i, output in outputs.items()})
    vectors = {}
    for layer in layers:
        vector = states[0][layer] - states[1][layer]
        # where a layer has not seen the picture, or there is none, the difference of both prompts
        # is rounding, whose direction is noise
        size, whole = (it.norm(dim=-1, keepdim=True) for it in (vector, states[0][layer]))
        steered = size > whole * _rounding(adapter.model.dtype)
        if steering.negative.without_image is not None:
            steered = steered & with_image[:, None, None].to(steered.device)
        vectors[layer] = torch.where(steered, vector, 0.0)
    return vectors


def _rounding(dtype: torch.dtype) -> float:
    """The relative difference up to which two ways of computing a state are taken to agree."""
    return max(64 * torch.finfo(torch.float32).eps, 4 * torch.finfo(dtype).eps)

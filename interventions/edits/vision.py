"""Edit what happens inside the vision encoder, for the time in which pictures are encoded.

A row here is what the encoder attends within: a picture, a tile of one, or (Qwen-VL) a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.cells import Part
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.edits import AttentionEdit, Replace
from lmms_causal.interventions.attention.explicit import pieces
from lmms_causal.interventions.attention.running import editing, observing

__all__ = ["edited_weights", "patches_per_side", "received", "scaled_features"]

WeightFunction = Callable[[Tensor, Tensor, Coordinates], Tensor]
"""As :attr:`Replace.function`."""


@contextmanager
def edited_weights(
    adapter: ModelAdapter, layers: Sequence[int], function: WeightFunction
) -> Iterator[None]:
    """Edit the attention weights of some blocks while the block of code runs.

    All rows have the same coordinates and no document: a picture is encoded in the same way
    wherever it is met.
    """
    edits = {layer: (AttentionEdit(Replace(function)),) for layer in layers}
    # how many rows there are only the encoder knows: one row of coordinates serves them all
    padding = torch.zeros(1, dtype=torch.long)
    part = Part(slice(None), edits, padding, end=None, seeds=(0,))
    with editing(adapter.vision_attention, [part]):
        yield


@contextmanager
def scaled_features(
    adapter: ModelAdapter, function: Callable[[Tensor, Coordinates], Tensor]
) -> Iterator[None]:
    """Multiply the features that feed the projector by a number a patch, made from attention.

    A class token is left as it is; the models drop it.

    Args:
        adapter: a model whose encoder sees square pictures.
        function: weights ``[R, H, T, T]`` of the block that makes the features, to factors
            ``[R, P]`` for its patches in reading order.
    """
    factors: dict[int, Tensor] = {}

    def record(layer: int, call: Call) -> None:
        if layer in adapter.feature_blocks:
            count = torch.arange(call.query.shape[2], device=call.query.device)[None]
            where = Coordinates(layer, count, count, seeds=(0,))
            factors[layer] = function(call.weights(slice(None)), where)

    def scaled(states: Tensor, layer: int) -> Tensor:
        factor = factors[layer].to(states.dtype)
        behind = states[:, states.shape[1] - factor.shape[1] :] * factor[..., None]
        return torch.cat([states[:, : states.shape[1] - factor.shape[1]], behind], dim=1)

    def hook(module: Any, inputs: Any, output: Any) -> Any:
        states = list(output.get("hidden_states") or ())
        for layer in factors:
            # entry 0 is what enters the first block; entries nobody asked for are None
            if layer + 1 < len(states) and states[layer + 1] is not None:
                states[layer + 1] = scaled(states[layer + 1], layer)
        if states:
            output.hidden_states = tuple(states)
        if (last := len(adapter.blocks) - 1) in factors:
            output.last_hidden_state = scaled(output.last_hidden_state, last)
        factors.clear()
        return output

    handle = adapter.tower.register_forward_hook(hook)
    try:
        with observing(adapter.vision_attention, record):
            yield
    finally:
        handle.remove()


@contextmanager
def received(adapter: ModelAdapter, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Collect the attention that each token gets in some blocks while the block of code runs.

    Yields:
        For each block ``[pictures, 2, T]``, float32: the weights of the first token's query (the
        class token, where there is one), and the mean over all queries, both summed over heads.
    """
    found: dict[int, Tensor] = {}

    def record(layer: int, call: Call) -> None:
        if layer not in layers:
            return
        rows = torch.arange(call.query.shape[2], device=call.query.device)
        first = call.weights(rows[:1]).sum(dim=(1, 2))
        total = torch.zeros_like(first)
        for piece in pieces(call, rows):
            total += call.weights(piece).sum(dim=(1, 2))
        both = torch.stack([first, total / len(rows)], dim=1)
        found[layer] = torch.cat([found[layer], both]) if layer in found else both

    with observing(adapter.vision_attention, record):
        yield found


def patches_per_side(tokens: int) -> int:
    """Return the side of the square grid in a sequence with or without a class token."""
    return math.isqrt(tokens)

"""Read and push the decoder's residual stream, with hooks that live for one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["EMBEDDINGS", "recorded", "steered"]

EMBEDDINGS = -1
"""The index of what enters the first layer, where layers are counted from 0."""


@contextmanager
def recorded(layers: Sequence[nn.Module], indices: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Record the raw outputs ``[B, q, D]`` of some decoder layers while the block runs.

    Raw: before the final norm, which the last entry of ``output_hidden_states`` is not. The index
    :data:`EMBEDDINGS` stands for the input of the first layer.
    """
    found: dict[int, Tensor] = {}

    def keep(index: int) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            found[index] = _states(output)

        return hook

    def keep_input(module: nn.Module, inputs: Any, named: Any) -> None:
        found[EMBEDDINGS] = inputs[0] if inputs else named["hidden_states"]

    with ExitStack() as stack:
        for index in indices:
            if index == EMBEDDINGS:
                handle = layers[0].register_forward_pre_hook(keep_input, with_kwargs=True)
            else:
                handle = layers[index].register_forward_hook(keep(index))
            stack.callback(handle.remove)
        yield found


@contextmanager
def steered(
    modules: Sequence[nn.Module],
    vectors: Mapping[int, Tensor],
    function: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[None]:
    """Change the outputs of some modules while the block runs, in float32.

    Args:
        modules: one a layer, e.g. the feed-forward modules.
        vectors: for each layer that is steered a vector a row, ``[B, 1, D]``. A batch with more
            rows carries further branches behind the first ``B``, which are left alone.
        function: ``(output [B, q, D], vector [B, 1, D]) -> [B, q, D]``.
    """

    def push(vector: Tensor) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            states = _states(output)
            rows = vector.shape[0]
            changed = function(states[:rows].float(), vector.float()).to(states.dtype)
            if rows < states.shape[0]:
                changed = torch.cat([changed, states[rows:]])
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return hook

    with ExitStack() as stack:
        for index, vector in vectors.items():
            handle = modules[index].register_forward_hook(push(vector))
            stack.callback(handle.remove)
        yield


def _states(output: Any) -> Tensor:
    """A module's main output; mixtures of experts return a tuple."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states

"""Look at attention while a model runs, without changing what it computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.running import Visit, observing

__all__ = ["Visit", "head_outputs", "last_weights", "observing"]


@contextmanager
def last_weights(
    modules: Sequence[nn.Module], layers: Sequence[int]
) -> Iterator[dict[int, Tensor]]:
    """Collect the last query's weights, mean over heads, of some layers while the block runs.

    Yields:
        For each layer the weights ``[B, n]`` of the newest pass, float32.
    """
    found: dict[int, Tensor] = {}

    def visit(layer: int, call: Call) -> None:
        if layer in layers:
            last = torch.tensor([call.query.shape[2] - 1], device=call.query.device)
            found[layer] = call.weights(last).mean(dim=1)[:, -1]

    with observing(modules, visit):
        yield found


@contextmanager
def head_outputs(
    modules: Sequence[nn.Module], *, last: bool = True, of: Sequence[int] | None = None
) -> Iterator[dict[int, Tensor]]:
    """Collect the outputs of all heads, before the output projection, while the block runs.

    Args:
        modules: the attention modules of the tower, all of them, in order.
        last: whether those of the last query are enough.
        of: the layers looked at; None for all.

    Yields:
        For each layer ``[B, H, d]`` of the last query of the newest pass, or with ``last=False``
        ``[B, q, H, d]`` of all.
    """
    found: dict[int, Tensor] = {}

    def visit(layer: int, call: Call) -> None:
        assert call.output is not None
        if of is not None and layer not in of:
            return
        found[layer] = call.output[:, -1] if last else call.output

    with observing(modules, visit):
        yield found

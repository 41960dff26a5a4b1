"""Change the residual stream of some rows of a batch, with hooks that live for one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

__all__ = ["changed"]

Change = Callable[[Tensor], Tensor]


@contextmanager
def changed(
    layers: Sequence[nn.Module], rows: slice, changes: Sequence[tuple[int, str, Change]]
) -> Iterator[None]:
    """Change what enters or leaves some decoder layers while the block runs.

    Args:
        layers: all decoder layers.
        rows: the rows of the batch concerned.
        changes: index of a layer, ``input`` or ``output``, and a function of ``[R, q, D]``.
    """

    def edited(states: Tensor, change: Change) -> Tensor:
        if len(range(*rows.indices(len(states)))) == len(states):
            return change(states).to(states.dtype)
        result = states.clone()
        result[rows] = change(states[rows]).to(states.dtype)
        return result

    def before(change: Change) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: Any, named: Any) -> Any:
            if inputs:
                return (edited(inputs[0], change), *inputs[1:]), named
            return inputs, {**named, "hidden_states": edited(named["hidden_states"], change)}

        return hook

    def after(change: Change) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (edited(output[0], change), *output[1:])
            return edited(output, change)

        return hook

    with ExitStack() as stack:
        for index, at, change in changes:
            if at == "input":
                handle = layers[index].register_forward_pre_hook(before(change), with_kwargs=True)
            else:
                handle = layers[index].register_forward_hook(after(change))
            stack.callback(handle.remove)
        yield

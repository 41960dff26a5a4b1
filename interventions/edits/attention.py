"""Edit or read attention weights of chosen layers and rows, for the time of one forward pass.

While :func:`editing` or :func:`reading` is active, the modules concerned call a function of ours
under a name of its own; every layer and row without an edit goes through the function and the mask
that the model used before. Outside the block the model's configuration is as it was.

Edits act on explicit weights ``softmax(scaling * q k^T)``, computed in float32 for the edited rows
and layers only. The implementations that can be stood in for are ``sdpa`` and ``eager``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lmms_causal.errors import UserError
from lmms_causal.interventions.edits.weights import for_all_heads, weights_of

if TYPE_CHECKING:
    from lmms_causal.interventions.plan import Layers

__all__ = [
    "Coordinates",
    "Part",
    "WeightEdit",
    "editing",
    "not_editable",
    "reading",
]

_CODES = {"sdpa": "lmms_causal_fused", "eager": "lmms_causal_explicit"}
"""Our names, over the implementations they fall back on. They contain no name that transformers
takes for one of its own."""


@dataclass(frozen=True)
class Coordinates:
    """Where the entries of a weight tensor are, independently of padding, cache and batch.

    Attributes:
        layer: index of the layer in its tower.
        queries: index ``[R, q]`` of each query, counted from the row's first real token.
        keys: index ``[R, n]`` of each key; negative for padding.
        seeds: a number a row ``[R]``, a function of its document.
    """

    layer: int
    queries: Tensor
    keys: Tensor
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class WeightEdit:
    """A replacement of attention weights after the softmax.

    Attributes:
        layers: which decoder layers, given their number.
        function: ``(weights [R, H, q, n], allowed [R, 1 or H, q, n], coordinates) -> weights``,
            float32. Weights are 0 where not allowed, and must stay so.
    """

    layers: Layers
    function: Callable[[Tensor, Tensor, Coordinates], Tensor]


@dataclass(frozen=True)
class Part:
    """Rows of a batch that share edits.

    Attributes:
        rows: the rows, a slice of the batch.
        edits: edits by layer.
        padding: number of padding tokens ``[R]`` on the left of each row.
        end: columns of the batch up to and including this pass's queries; None where there is no
            cache, and keys and queries are the same tokens.
        seeds: as in :class:`Coordinates`.
    """

    rows: slice
    edits: Mapping[int, Sequence[WeightEdit]]
    padding: Tensor
    end: int | None
    seeds: tuple[int, ...]


Visit = Callable[[int, Callable[[], Tensor]], None]
"""Called with a layer's index and a function that computes its last query row's weights."""


@dataclass(frozen=True)
class _Active:
    layer_of: Mapping[int, int]  # id of an attention module to its index
    parts: Sequence[Part] = ()
    visit: Visit | None = None


_ACTIVE: ContextVar[_Active | None] = ContextVar("lmms_causal_attention", default=None)


@contextmanager
def editing(modules: Sequence[nn.Module], parts: Sequence[Part]) -> Iterator[None]:
    """Edit the weights of some rows of a tower while the block runs.

    Args:
        modules: the attention modules of the tower, all of them, in order.
        parts: disjoint row ranges with their edits.

    Raises:
        UserError: the tower runs on an implementation that cannot be stood in for.
    """
    with _standing_in(modules, _Active(_indices(modules), parts)):
        yield


@contextmanager
def reading(modules: Sequence[nn.Module], layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Collect the last query's weights, mean over heads, of some layers while the block runs.

    Yields:
        For each layer the weights ``[B, n]`` of the newest pass, float32. The passes themselves are
        unchanged.
    """
    found: dict[int, Tensor] = {}

    def visit(layer: int, compute: Callable[[], Tensor]) -> None:
        if layer in wanted:
            found[layer] = compute().mean(dim=1)[:, -1]

    wanted = frozenset(layers)
    with _standing_in(modules, _Active(_indices(modules), visit=visit)):
        yield found


def not_editable(modules: Sequence[nn.Module]) -> str | None:
    """Return why the attention of a tower can be neither edited nor read, or None if it can."""
    for module in modules:
        name = getattr(getattr(module, "config", None), "_attn_implementation", None)
        if name is None:
            return f"{type(module).__name__} does not take its attention function from transformers"
        if name not in _CODES:
            return (
                f"attn_implementation={name}: attention cannot be edited or read in it; load the "
                "model with attn_implementation=sdpa"
            )
    return None


def _indices(modules: Sequence[nn.Module]) -> dict[int, int]:
    return {id(module): index for index, module in enumerate(modules)}


@contextmanager
def _standing_in(modules: Sequence[nn.Module], active: _Active) -> Iterator[None]:
    if (reason := not_editable(modules)) is not None:
        raise UserError(reason)
    configs: dict[int, Any] = {id(module.config): module.config for module in modules}
    saved = [(config, config._attn_implementation) for config in configs.values()]
    for _, name in saved:
        _register(name)
    token = _ACTIVE.set(active)
    try:
        for config, name in saved:
            config._attn_implementation_internal = _CODES[name]  # this one, no sub-configuration
        yield
    finally:
        for config, name in saved:
            config._attn_implementation_internal = name
        _ACTIVE.reset(token)


def _register(name: str) -> None:
    """Make our function and mask known over one implementation."""
    if _CODES[name] in ALL_ATTENTION_FUNCTIONS:
        return

    def attention(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        return _attend(name, module, *args, **kwargs)

    AttentionInterface.register(_CODES[name], attention)
    # without a mask function of the same name the model would get no mask, and see the future
    AttentionMaskInterface.register(_CODES[name], ALL_MASK_ATTENTION_FUNCTIONS[name])


def _attend(
    name: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    """The attention function: ``query [B, H, q, d]``, ``key`` and ``value [B, H_kv, n, d]``."""
    active = _ACTIVE.get()
    layer = active.layer_of.get(id(module)) if active else None
    original = ALL_ATTENTION_FUNCTIONS.get(name) or _eager(module)

    def run() -> tuple[Tensor, Any]:
        output: tuple[Tensor, Any] = original(module, query, key, value, attention_mask, **kwargs)
        return output

    if active is None or layer is None:
        return run()
    if active.visit is not None:
        active.visit(
            layer,
            lambda: weights_of(module, query[:, :, -1:], key, _last_row(attention_mask), **kwargs)[
                0
            ],
        )
    parts = [part for part in active.parts if part.edits.get(layer)]
    if not parts:
        return run()
    if len(parts) == 1 and len(range(*parts[0].rows.indices(query.shape[0]))) == query.shape[0]:
        return _edited(parts[0], layer, module, query, key, value, attention_mask, **kwargs), None
    output, weights = run()
    output = output.clone()
    for part in parts:
        rows = part.rows
        mask = attention_mask
        if mask is not None and mask.shape[0] > 1:
            mask = mask[rows]
        output[rows] = _edited(
            part, layer, module, query[rows], key[rows], value[rows], mask, **kwargs
        )
    return output, weights


def _edited(
    part: Part,
    layer: int,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    **kwargs: Any,
) -> Tensor:
    """Attention output ``[R, q, H, d]`` with edited weights."""
    weights, allowed = weights_of(module, query, key, mask, **kwargs)
    length, count = weights.shape[-2:]
    # the newest key is the last query's own, also in a cache that has forgotten old ones
    end = count if part.end is None else part.end
    padding = part.padding.to(query.device)[:, None]
    queries = torch.arange(end - length, end, device=query.device) - padding
    keys = torch.arange(end - count, end, device=query.device) - padding
    where = Coordinates(layer, queries, keys, part.seeds)
    for edit in part.edits[layer]:
        weights = edit.function(weights, allowed, where)
    spread = for_all_heads(value, query.shape[1])
    return (weights.to(value.dtype) @ spread).transpose(1, 2).contiguous()


def _last_row(mask: Tensor | None) -> Tensor | None:
    return mask if mask is None else mask[:, :, -1:]


def _eager(module: nn.Module) -> Callable[..., Any]:
    """The explicit attention function of a module's own file, where transformers looks for it."""
    found: Callable[..., Any] = sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[attr-defined]
    return found

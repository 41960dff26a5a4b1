"""Put edits into a model's passes: stand in for its attention function, for the time of one pass.

While :func:`editing` or :func:`~.observing.observing` is active, the modules concerned call a
function of ours under a name of its own; every layer and row without an edit goes through the
function and the mask that the model used before. Outside the block the model's configuration is as
it was. The implementations that can be stood in for are ``sdpa``, ``eager`` and our own
(``backend.py``). The mask is said by a :class:`~.sight.Sight`; the tensor that the implementation
takes is made where a layer is given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lmms_causal.errors import UserError
from lmms_causal.interventions.attention import backend, compiled
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.cells import Part
from lmms_causal.interventions.attention.sight import Sight, dense, seen

__all__ = ["Visit", "editing", "not_editable", "observing"]

_CODES = {
    "sdpa": "lmms_causal_fused",
    "eager": "lmms_causal_explicit",
    backend.NAME: "lmms_causal_kernels",
}
"""Our names, over the implementations they fall back on. They contain no name that transformers
takes for one of its own."""

Visit = Callable[[int, Call], None]
"""Called with a layer's index and its call, output included."""


@dataclass(frozen=True)
class _Active:
    layer_of: Mapping[int, int]  # id of an attention module to its index
    parts: Sequence[Part] = ()
    visits: tuple[Visit, ...] = ()


_ACTIVE: ContextVar[tuple[_Active, ...]] = ContextVar("lmms_causal_attention", default=())
"""The blocks around the present pass, the outermost first."""


@contextmanager
def editing(modules: Sequence[nn.Module], parts: Sequence[Part]) -> Iterator[None]:
    """Edit the attention of some rows of a tower while the block runs.

    Args:
        modules: the attention modules of the tower, all of them, in order.
        parts: disjoint row ranges with their edits.

    Raises:
        UserError: the tower runs on an implementation that cannot be stood in for.
    """
    with _standing_in(modules, parts=parts):
        yield


@contextmanager
def observing(modules: Sequence[nn.Module], visit: Visit) -> Iterator[None]:
    """Show every call of a tower's attention, with its output, while the block runs.

    What the model computes is unchanged; within :func:`editing` the output is the edited one.

    Args:
        modules: the attention modules of the tower, all of them, in order.
        visit: called for each layer of each pass.
    """
    with _standing_in(modules, visits=(visit,)):
        yield


def not_editable(modules: Sequence[nn.Module]) -> str | None:
    """Return why the attention of a tower can be neither edited nor read, or None if it can."""
    for module in modules:
        name = getattr(getattr(module, "config", None), "_attn_implementation", None)
        if name is None:
            return f"{type(module).__name__} does not take its attention function from transformers"
        if name not in _CODES and name not in _CODES.values():
            return (
                f"attn_implementation={name}: attention cannot be edited or read in it; load the "
                "model with attn_implementation=sdpa"
            )
    return None


@contextmanager
def _standing_in(
    modules: Sequence[nn.Module], parts: Sequence[Part] = (), visits: tuple[Visit, ...] = ()
) -> Iterator[None]:
    if (reason := not_editable(modules)) is not None:
        raise UserError(reason)
    indices = {id(module): index for index, module in enumerate(modules)}
    configs: dict[int, Any] = {id(module.config): module.config for module in modules}
    saved = [(config, config._attn_implementation) for config in configs.values()]
    for _, name in saved:
        if name in _CODES:
            _register(name)
    token = _ACTIVE.set((*_ACTIVE.get(), _Active(indices, parts, visits)))
    try:
        for config, name in saved:  # this configuration, none of its sub-configurations
            config._attn_implementation_internal = _CODES.get(name, name)
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
    masks = ALL_MASK_ATTENTION_FUNCTIONS[name]
    AttentionMaskInterface.register(_CODES[name], masks if name == backend.NAME else seen(masks))


def _attend(
    name: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | Sight | None,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    """The attention function: ``query [B, H, q, d]``, ``key`` and ``value [B, H_kv, n, d]``."""
    blocks = [block for block in _ACTIVE.get() if id(module) in block.layer_of]
    original = _original(name, module)
    if not blocks:
        output: tuple[Tensor, Any] = original(module, query, key, value, attention_mask, **kwargs)
        return output
    layer = blocks[0].layer_of[id(module)]
    fused = name != "eager"
    call = Call(module, query, key, value, attention_mask, kwargs, original, fused)
    states, weights = _edited(call, [part for block in blocks for part in block.parts], layer)
    for block in blocks:
        for visit in block.visits:
            visit(layer, replace(call, output=states))
    return states, weights


def _edited(call: Call, parts: Sequence[Part], layer: int) -> tuple[Tensor, Any]:
    """The output of one layer, edited where some part says so, and weights where there are any."""
    parts = [part for part in parts if part.edits.get(layer)]
    if len(parts) == 1 and len(range(*parts[0].rows.indices(len(call.query)))) == len(call.query):
        return compiled.attend(call, parts[0], layer), None
    output, weights = call.original(
        call.module, call.query, call.key, call.value, call.given, **call.options
    )
    if parts:
        output = output.clone()
        for part in parts:
            output[part.rows] = compiled.attend(call.of(part.rows), part, layer)
    return output, weights


def _original(name: str, module: nn.Module) -> Callable[..., Any]:
    """The implementation the model had; it takes a sight as well as a mask."""
    if name == backend.NAME:
        return backend.attend
    function = ALL_ATTENTION_FUNCTIONS.get(name) or backend.eager_attention(module)

    def attention(
        module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, **options: Any
    ) -> tuple[Tensor, Any]:
        found: tuple[Tensor, Any] = function(module, q, k, v, dense(mask), **options)
        return found

    return attention

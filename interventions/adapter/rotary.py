"""How each decoder layer turns queries and keys by position, measured on the model itself.

A decoder that reads one token attends to it alone, so its states do not depend on the token's
position, and the queries of two such passes differ by the rotation only. What matches is taken,
whatever the family calls it; a model whose layers turn in no known way is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter.model_adapter import ModelAdapter
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.running import not_editable, observing
from lmms_causal.kernels.rotation import Rotation, rotate

__all__ = ["rotary_obstacle", "rotations"]

_FIRST, _SECOND = 7, 19
"""The positions compared."""

_TOKENS = 1000
"""How many of the vocabulary's first tokens one is chosen from to be read."""


def rotations(adapter: ModelAdapter) -> tuple[Rotation, ...]:
    """Return the rotation of each decoder layer; of nothing where it does not look at positions.

    Raises:
        UserError: the model has no rotary embedding, or one that cannot be followed.
    """
    if adapter.rotary is None:
        raise UserError(f"{adapter.kind} has no rotary position embedding")
    types = set(re.findall(r"'rope_type': '(\w+)'", str(_parameters(adapter))))
    if "dynamic" in types:
        raise UserError(
            "its rotary embedding is of the type dynamic, whose frequencies change with the length "
            "while older keys keep theirs"
        )
    first, second = _queries_at(adapter, _FIRST), _queries_at(adapter, _SECOND)
    candidates = list(_candidates(adapter))
    axes = _axes(adapter, first[0]) if adapter.places_pictures else None
    found = []
    for layer, (before, after) in enumerate(zip(first, second, strict=True)):
        if torch.equal(before, after):
            found.append(Rotation(torch.empty(0)))
            continue
        size = (after - before).abs().max()
        errors = [
            float((rotate(before, float(_SECOND - _FIRST), it) - after).abs().max() / size)
            for it in candidates
        ]
        best = min(range(len(errors)), key=errors.__getitem__, default=None)
        if best is None or errors[best] > _tolerance(adapter.model.dtype):
            raise UserError(f"layer {layer} turns its queries in a way that is not known")
        found.append(replace(candidates[best], axes=axes))
    return tuple(found)


def rotary_obstacle(adapter: ModelAdapter) -> str | None:
    """Return why a model's rotary embedding cannot be followed, or None if it can."""
    if (reason := not_editable(adapter.attention)) is not None:
        return reason
    try:
        rotations(adapter)
    except UserError as error:
        return str(error)
    return None


def _parameters(adapter: ModelAdapter) -> object:
    return getattr(adapter.model.config.get_text_config(), "rope_parameters", None)


def _axes(adapter: ModelAdapter, first: Tensor) -> Tensor:
    """The axis (time, height, width) that each frequency of the first layer goes by, ``[f]``."""
    pairs = first.shape[-1] // 2
    axes = torch.zeros(pairs, dtype=torch.long)
    for axis in (1, 2):
        moved = _queries_at(adapter, _FIRST, axis)[0]
        turned = (moved - first).abs().amax(dim=(0, 1, 2)).unflatten(0, (2, pairs)).amax(dim=0)
        axes[(turned > 0).cpu()] = axis
    return axes


def _queries_at(adapter: ModelAdapter, position: int, axis: int | None = None) -> list[Tensor]:
    """The query ``[1, H, 1, d]`` of each layer when the decoder reads one token at a position.

    With an ``axis``, the token is at the second position on that axis alone.
    """
    weight = adapter.model.get_input_embeddings().weight
    positions = torch.full((1, 1), position, device=weight.device)
    if adapter.places_pictures:
        positions = positions[None].repeat(4, 1, 1)  # text, time, height, width
        if axis is not None:
            positions[1 + axis] = _SECOND
    queries: dict[int, Tensor] = {}

    def visit(layer: int, call: Call) -> None:
        queries[layer] = call.query.float()

    first = weight[:_TOKENS]  # some tokens' embeddings are zero, such as that of padding
    token = first[first.float().norm(dim=1).argmax()][None, None]
    with torch.no_grad(), observing(adapter.attention, visit):
        adapter.decoder(inputs_embeds=token, position_ids=positions, use_cache=False)
    return [queries[layer] for layer in range(adapter.depth)]


def _candidates(adapter: ModelAdapter) -> Iterator[Rotation]:
    """Rotations that the rotary module's frequencies allow."""
    assert adapter.rotary is not None
    for name, buffer in adapter.rotary.named_buffers():
        if name.endswith("inv_freq") and "original" not in name:
            for interleaved in (False, True):
                yield Rotation(buffer.float(), interleaved)


def _tolerance(dtype: torch.dtype) -> float:
    """The error that rounding explains, relative to how far queries turn."""
    return max(1e-3, 16 * torch.finfo(dtype).eps)

"""A pattern in place of causal attention: its meaning on a mask, and the kernels without a mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.interventions.attention.backend import Asked, through_kernels
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.cells import Cells, Part
from lmms_causal.interventions.attention.edits import AttentionEdit, Pattern, Where
from lmms_causal.interventions.attention.mask_patterns import Written
from lmms_causal.interventions.attention.regions import regions
from lmms_causal.interventions.attention.sight import Stretch
from lmms_causal.kernels.patterns import AttentionPattern, Context, Region

__all__ = [
    "Place",
    "alone",
    "asked",
    "attend",
    "everywhere",
    "for_kernels",
    "may_see",
    "places_of",
]


@dataclass(frozen=True)
class Place:
    """What a pattern is told of a row.

    Attributes:
        regions: in positions of its content.
        prompt: positions that are prompt; None where all are.
    """

    regions: tuple[Region, ...] = ()
    prompt: int | None = None


def alone(call: Call, edit: AttentionEdit) -> bool:
    """Whether a pattern for all queries and heads can be given to the kernels."""
    return isinstance(edit.operation, Pattern) and everywhere(edit) and for_kernels(call)


def everywhere(edit: AttentionEdit) -> bool:
    """Whether an edit is of all queries, keys and heads."""
    where, whole = edit.where, Where()
    return (where.queries, where.keys, where.heads) == (whole.queries, whole.keys, whole.heads)


def for_kernels(call: Call) -> bool:
    """Whether a call can be given to the kernels at all.

    They are not asked where attention is to be written out, or gradients are wanted.
    """
    if call.sight is None or not call.fused or call.options.get("s_aux") is not None:
        return False
    return not (torch.is_grad_enabled() and (call.query.requires_grad or call.key.requires_grad))


def attend(call: Call, edit: AttentionEdit, cells: Cells) -> Tensor:
    """Return the output ``[R, q, H, d]`` of one layer under a pattern, no mask being made.

    Raises:
        UserError: the pattern cannot be applied to a prompt.
    """
    operation, sight = edit.operation, call.sight
    assert isinstance(operation, Pattern) and sight is not None
    places = places_of(cells.part, len(call.query), operation)
    return through_kernels(
        call.query,
        call.key,
        call.value,
        sight.split(places),
        scale=call.scale,
        softcap=call.softcap,
        asked=lambda stretch: asked(operation, places[stretch.rows[0]], stretch, sight.queries),
    )


def asked(operation: Pattern, place: Place, stretch: Stretch, queries: int) -> Asked:
    """What a pattern asks of the kernels for rows at one place.

    Args:
        operation: the pattern.
        place: of the rows.
        stretch: the rows.
        queries: how many the pass has; one alone has nothing ahead.
    """
    pattern = operation.pattern
    if queries > 1 and place.prompt is not None and stretch.stop - stretch.start > place.prompt:
        pattern = pattern & Written(place.prompt)
    return Asked(pattern, place.regions)


def may_see(
    allowed: Tensor, pattern: AttentionPattern, cells: Cells, rows: Tensor, heads: Tensor
) -> Tensor:
    """Return a mask with a pattern for *causal*: the meaning of :class:`~.edits.Pattern`.

    Args:
        allowed: the model's mask of some queries, bool ``[R, 1|h, r, n]``.
        pattern: the pattern.
        cells: coordinates of the call.
        rows: indices ``[r]`` of its queries.
        heads: indices ``[h]`` of its query heads.

    Returns:
        ``(M and (P or ahead)) or (P and ahead)``, bool ``[R, h, r, n]``.
    """
    queries, keys = cells.query_columns[rows], cells.key_columns
    places = places_of(cells.part, len(allowed), None)
    padding = cells.part.padding.expand(len(allowed)).tolist()
    found = []
    for place, pads in zip(places, padding, strict=True):
        first = max(int(cells.query_columns[0]), pads)
        context = Context(
            max(cells.end - first, 0),
            cells.end - pads,
            first - pads,
            *cells.heads,
            regions=place.regions,
        )
        pattern.check(context)
        i = (queries - pads).clamp(min=0)[None, :, None]
        j = (keys - pads).clamp(min=0)[None, None]
        own = pattern.allowed(context, heads[:, None, None], i, j)
        if place.prompt is not None:
            own = own & ((j <= i) | (j < place.prompt))
        found.append((own & (keys >= pads)).expand(len(heads), len(rows), len(keys)))
    own = torch.stack(found)
    ahead = keys[None] > queries[:, None]
    opened = own & ahead
    if cells.part.layout is not None:
        real = cells.part.layout.real.to(keys.device)
        opened = opened & real[:, None, queries, None] & real[:, None, None, keys]
    return (allowed & (own | ahead)) | opened


def places_of(part: Part, count: int, operation: Pattern | None) -> list[Place]:
    """What is known of each row; where things are is found once and kept, the prompt's length too.

    A pattern that names no region is not told of any, so that its plans serve other prompts.
    """
    layout = part.layout
    if layout is None:
        return [Place()] * count
    memory = part.memory.setdefault("places", {})
    if "found" not in memory:
        end = layout.prompt_end
        padding = layout.real.long().argmax(dim=1).tolist()
        memory["found"] = [
            Place(regions(layout, row), end - pads) for row, pads in enumerate(padding)
        ]
        memory["bare"] = [Place((), place.prompt) for place in memory["found"]]
    kind = "bare" if operation is not None and not operation.regions else "found"
    found: list[Place] = memory[kind]
    return found

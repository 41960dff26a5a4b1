"""Position-invariant attention for the rows of a batch: each row has segments of its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.cells import Cells
from lmms_causal.interventions.attention.edits import AttentionEdit, Segments
from lmms_causal.interventions.attention.layout import Role
from lmms_causal.kernels.segments import SegmentLayout, segment_attention, unrotated_keys

__all__ = ["attend"]


def attend(call: Call, edit: AttentionEdit, cells: Cells) -> Tensor:
    """Return the output ``[R, q, H, d]`` of one layer, its rows one by one.

    What stands before a row's segments, and rows without any, get what the model computes. Keys
    with their rotation undone are kept for the decoding steps that follow.
    """
    layout = cells.part.layout
    assert layout is not None
    if int(cells.key_columns[0]) != 0:
        raise AssertionError("segments need a cache that keeps every key")
    outputs = []
    for row in range(len(call.query)):
        own = call.of(slice(row, row + 1))
        groups = layout.groups(row)
        start = groups[0][0][0] if groups else int(cells.key_columns[-1]) + 1
        first = int(cells.query_columns[0])
        before = max(0, min(start - first, len(cells.query_columns)))
        pieces = []
        if before:
            pieces.append(_first(own, before, start if groups else None).plain()[0])
        if before < len(cells.query_columns):
            _refuse_seeing_ahead(own, layout.roles[row], start)
            placed = SegmentLayout.of(
                [[(start, stop) for start, stop, _ in group] for group in groups],
                len(cells.key_columns),
                int(layout.real[row].long().argmax()),
                ranks=[[rank for _, _, rank in group] for group in groups],
            )
            pieces.append(_segmented(own, edit, cells, row, placed, before).transpose(0, 1))
        outputs.append(torch.cat(pieces))
    return torch.stack(outputs)


def _first(call: Call, queries: int, keys: int | None) -> Call:
    """The call of the first queries, which see the first keys only."""
    if keys is None:
        return call
    mask = call.mask
    return replace(
        call,
        query=call.query[:, :, :queries],
        key=call.key[:, :, :keys],
        value=call.value[:, :, :keys],
        given=mask if mask is None else mask[:, :, :queries, :keys],
    )


def _segmented(
    call: Call, edit: AttentionEdit, cells: Cells, row: int, layout: SegmentLayout, skip: int
) -> Tensor:
    """The output ``[H, m, d]`` of one row from its first segment on."""
    operation, part = edit.operation, cells.part
    assert isinstance(operation, Segments) and part.positions is not None
    rotation = part.rotations[cells.layer]
    positions = part.positions()[..., row, :]
    memory = cells.memory(edit)
    if row not in memory:
        memory[row] = unrotated_keys(call.key[0], layout, positions, rotation)
    return segment_attention(
        call.query[0, :, skip:],
        call.key[0],
        call.value[0],
        layout=layout,
        positions=positions,
        rotation=rotation,
        scale=call.scale,
        first_query=int(cells.query_columns[skip]),
        order=operation.order,
        visible=operation.visible,
        softcap=call.softcap,
        window=call.window,
        unrotated=memory[row],
    )


def _refuse_seeing_ahead(call: Call, roles: Tensor, start: int) -> None:
    """Refuse pictures at or behind the first segment whose patches all see each other.

    Raises:
        UserError: names the model.
    """
    if call.mask is None or call.query.shape[2] == 1:
        return
    here = (roles[start:] == Role.IMAGE).to(call.query.device)
    if not bool(here.any()):
        return
    shown = call.allowed(slice(None))[0, 0]
    rows = torch.arange(shown.shape[0], device=shown.device) + shown.shape[1] - shown.shape[0]
    ahead = torch.arange(shown.shape[1], device=shown.device)[None] > rows[:, None]
    if bool((shown & ahead)[:, start:].any()):
        raise UserError(
            f"{type(call.module).__name__} lets the patches of a picture see each other, which "
            "segments cannot express for pictures at or behind the first segment; put pictures "
            "before the segments"
        )

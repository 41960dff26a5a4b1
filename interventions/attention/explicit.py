"""The meaning of a list of edits, written out on explicit weights: the specification.

Any other way to carry edits out is checked against this one, and this one against closed forms.
Queries come in pieces, so that no more than a piece's weights are in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from lmms_causal.interventions.attention import patterned
from lmms_causal.interventions.attention.call import Call, for_all_heads, softmax_over
from lmms_causal.interventions.attention.cells import Cells
from lmms_causal.interventions.attention.edits import (
    AttentionEdit,
    Bias,
    Calibrate,
    Close,
    Gain,
    Open,
    Pattern,
    Replace,
    Scale,
    Uniform,
)
from lmms_causal.interventions.attention.layout import Layout

__all__ = ["attend", "look", "may_see", "pieces", "weights"]

_ENTRIES = 2**23  # of weights in memory at a time


def attend(
    call: Call, edits: Sequence[AttentionEdit], cells: Cells, rows: Tensor, heads: Tensor
) -> Tensor:
    """Return the output of some queries and heads under edits, ``[R, r, h, d]``.

    Args:
        call: the call, all heads.
        edits: of mask, scores and weights.
        cells: coordinates of the call.
        rows: indices ``[r]`` of its queries.
        heads: indices ``[h]`` of its query heads.
    """
    if len(heads) < call.query.shape[1]:
        call = call.of_heads(heads)
    value = for_all_heads(call.value, len(heads))
    parts = [
        weights(call, edits, cells, piece, heads).to(value.dtype) @ value
        for piece in pieces(call, rows)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous()


def look(call: Call, edits: Sequence[AttentionEdit], cells: Cells, heads: Tensor) -> None:
    """Take down what edits of later queries need of this pass, in which they edit none."""
    for index, edit in enumerate(edits):
        if isinstance(edit.operation, Calibrate) and "sinks" not in cells.memory(edit):
            own = call.of_heads(heads) if len(heads) < call.query.shape[1] else call
            _sinks(own, _before(edits, index), edit.operation, edit, cells, heads)


def pieces(call: Call, rows: Tensor) -> Sequence[Tensor]:
    """Split query indices so that the weights of a piece are few enough to hold."""
    each = call.query.shape[0] * call.query.shape[1] * call.key.shape[2]
    return rows.split(max(1, _ENTRIES // each))


def weights(
    call: Call, edits: Sequence[AttentionEdit], cells: Cells, rows: Tensor, heads: Tensor
) -> Tensor:
    """Return edited weights ``[R, h, r, n]`` of some queries; ``call`` has the heads ``heads``."""
    allowed = may_see(call, edits, cells, rows, heads)
    scores = call.scores(rows)
    for edit in edits:
        match edit.operation:
            case Bias() as bias:
                region = cells.region(edit, rows, heads)
                scores = scores + bias.of(cells.layer) * region
            case Gain() as gain:
                region = cells.region(edit, rows, heads)
                amount = gain.of(partial(cells.coordinates, edit, rows))
                scores = scores + amount * scores.abs() * region
    found = softmax_over(scores, allowed)
    for index, edit in enumerate(edits):
        region = cells.region(edit, rows, heads)
        match edit.operation:
            case Scale(factor, renormalise):
                scaled = torch.where(region, found * factor, found)
                if renormalise:
                    scaled = _normalised(scaled, found)
                found = scaled
            case Uniform():
                found = torch.where(region, _normalised(allowed.to(found.dtype)), found)
            case Calibrate() as calibrate:
                sinks = _sinks(call, _before(edits, index), calibrate, edit, cells, heads)
                found = torch.where(region, _calibrated(found, sinks, calibrate.beta), found)
            case Replace(function):
                where = cells.coordinates(edit, rows)
                found = torch.where(region, function(found, allowed, where), found)
    return found


def may_see(
    call: Call, edits: Sequence[AttentionEdit], cells: Cells, rows: Tensor, heads: Tensor
) -> Tensor:
    """Return what some queries may see under edits of the mask, bool ``[R, 1|h, r, n]``."""
    allowed = call.allowed(rows)
    for edit in edits:
        if isinstance(edit.operation, Pattern):
            region = cells.region(edit, rows, heads)
            found = patterned.may_see(allowed, edit.operation.pattern, cells, rows, heads)
            allowed = torch.where(region, found, allowed)
    for kind in (Open, Close):
        for edit in edits:
            operation = edit.operation
            if not isinstance(operation, kind):
                continue
            region = cells.region(edit, rows, heads)
            layout = cells.part.layout
            if operation.pairs is not None and layout is not None:
                columns = cells.query_columns[rows]
                region = region & operation.pairs(layout, columns, cells.key_columns)[:, None]
            if isinstance(operation, Close):
                allowed = allowed & ~region
            else:
                if layout is not None:
                    region = region & _may_open(layout, cells, rows)
                allowed = allowed | region
    return allowed


def _may_open(layout: Layout, cells: Cells, rows: Tensor) -> Tensor:
    """Pairs that may be opened, bool ``[R, 1, r, n]``: no padding, no answer before it is written.

    What a query of the prompt saw of the answer would say more when the answer is scored than when
    it is generated.
    """
    real = layout.real.to(cells.device)[:, None, None, cells.key_columns]
    answer = layout.generated.to(cells.device)[:, None, None, cells.key_columns]
    ahead = cells.key_columns[None] > cells.query_columns[rows][:, None]
    return real & ~(answer & ahead)


def _before(edits: Sequence[AttentionEdit], index: int) -> list[AttentionEdit]:
    """The edits that are done before one of the weights: all of mask and scores, others so far."""
    stages = (Pattern, Open, Close, Bias, Gain)
    return [it for i, it in enumerate(edits) if i < index or isinstance(it.operation, stages)]


def _normalised(rows: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """Rows divided by their sums; rows without weight are ``otherwise``, or 0."""
    sums = rows.sum(dim=-1, keepdim=True)
    divided = rows / torch.where(sums > 0, sums, 1.0)
    return divided if otherwise is None else torch.where(sums > 0, divided, otherwise)


def _calibrated(rows: Tensor, sinks: Tensor, beta: float) -> Tensor:
    """ACT's redistribution of rows ``[R, h, r, n]``, given the sinks ``[R, h, n]`` bool."""
    sinks = sinks[:, :, None]
    mass = (rows * sinks).sum(dim=-1, keepdim=True)
    rest = (rows * ~sinks).sum(dim=-1, keepdim=True)
    gained = rows * (1 + (1 - beta) * mass / torch.where(rest > 0, rest, 1.0))
    return torch.where(rest > 0, torch.where(sinks, beta * rows, gained), rows)


def _sinks(
    call: Call,
    before: Sequence[AttentionEdit],
    calibrate: Calibrate,
    edit: AttentionEdit,
    cells: Cells,
    heads: Tensor,
) -> Tensor:
    """Which keys are sinks, ``[R, h, n]``, found in the prompt's pass and kept by column."""
    memory = cells.memory(edit)
    layout = cells.part.layout
    assert layout is not None
    if "sinks" not in memory:
        memory["sinks"] = _found_sinks(call, before, calibrate, cells, heads)
        memory["end"] = layout.prompt_end
    known: Tensor = memory["sinks"]
    sinks = torch.zeros(*known.shape[:2], layout.width, dtype=torch.bool, device=cells.device)
    shift = layout.prompt_end - memory["end"]  # rows that joined wider ones got more padding
    sinks[..., shift : shift + known.shape[-1]] = known
    return sinks[..., cells.key_columns]


def _found_sinks(
    call: Call,
    before: Sequence[AttentionEdit],
    calibrate: Calibrate,
    cells: Cells,
    heads: Tensor,
) -> Tensor:
    """Sinks by column ``[R, h, N]``: mean weight over the prompt's queries that may see the key."""
    layout = cells.part.layout
    assert layout is not None
    real = layout.real.to(cells.device)
    prompt = real & ~layout.generated.to(cells.device)
    length = prompt.sum(dim=1)
    received = call.query.new_zeros(
        len(call.query), len(heads), call.key.shape[2], dtype=torch.float32
    )
    seen = torch.zeros_like(received)
    asks = prompt[:, cells.query_columns]
    for piece in pieces(call, torch.arange(call.query.shape[2], device=cells.device)):
        asking = asks[:, None, piece, None]
        found = weights(call, before, cells, piece, heads)
        received += (found * asking).sum(dim=2)
        seen += (may_see(call, before, cells, piece, heads) & asking).sum(dim=2)
    mean = received / seen.clamp(min=1)
    if calibrate.threshold is None:
        threshold = (calibrate.over_length / length.clamp(min=1)).to(mean.dtype)[:, None, None]
        sinks = mean > threshold
    else:
        sinks = mean > calibrate.threshold
    columns = cells.key_columns
    sinks = sinks & prompt[:, None, columns]
    if calibrate.first_found:
        sinks = sinks & (sinks.long().cumsum(dim=-1) > 1)
    else:
        first = prompt.long().argmax(dim=1)
        sinks = sinks & (columns[None] != first[:, None])[:, None]
    placed = torch.zeros(*sinks.shape[:2], layout.width, dtype=torch.bool, device=cells.device)
    placed[..., columns] = sinks
    return placed

"""Carry edits out by the fastest means that can express them.

* Edits of the output leave the model's own kernel alone.
* A pattern alone is what :mod:`lmms_causal.kernels` are for. Where the model runs on them, so do
  masks, biases, gains and factors, without a tensor of all queries by all keys.
* Masks, biases and renormalised factors go into the fused kernel as a mask or an added bias.
* What needs the weights themselves is written out, for the queries and heads concerned only.
* :class:`Segments` has an operator of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lmms_causal.interventions.attention import explicit, in_kernels, outputs, patterned, segments
from lmms_causal.interventions.attention.call import Call, for_all_heads
from lmms_causal.interventions.attention.cells import Cells, Part
from lmms_causal.interventions.attention.edits import (
    AttentionEdit,
    Bias,
    Close,
    HeadReplace,
    HeadScale,
    Open,
    Pattern,
    Replace,
    Scale,
    Segments,
)

__all__ = ["attend"]


def attend(call: Call, part: Part, layer: int) -> Tensor:
    """Return the output of one layer's attention under a part's edits, ``[R, q, H, d]``."""
    edits = part.edits[layer]
    cells = Cells(part, layer, call)
    inner = [e for e in edits if not isinstance(e.operation, (HeadScale, HeadReplace))]
    placed = [e for e in inner if isinstance(e.operation, Segments)]
    if placed:
        output = segments.attend(call, placed[-1], cells)
    elif len(inner) == 1 and patterned.alone(call, inner[0]):
        output = patterned.attend(call, inner[0], cells)
    elif inner:
        output = _attend(call, inner, cells)
    else:
        output = call.plain()
    for edit in edits:
        if isinstance(edit.operation, (HeadScale, HeadReplace)):
            output = outputs.edited(output, edit, cells)
    return output


def _attend(call: Call, edits: Sequence[AttentionEdit], cells: Cells) -> Tensor:
    """Attention under edits of mask, scores and weights."""
    if in_kernels.possible(call, edits):
        return in_kernels.attend(call, edits, cells)
    count = call.query.shape[1]
    rows = torch.arange(call.query.shape[2], device=cells.device)
    heads = torch.arange(count, device=cells.device)
    if not call.fused or call.softcap is not None:
        return explicit.attend(call, edits, cells, rows, heads)
    written = [edit for edit in edits if not _fusible(edit)]
    hard_rows = _rows(written, cells, rows)
    hard_heads = _heads(written, cells, heads)
    if len(hard_rows) == len(rows) and len(hard_heads) == count:
        return explicit.attend(call, edits, cells, rows, heads)
    fusible = [edit for edit in edits if _fusible(edit) and cells.concern(edit)]
    output = _biased(call, fusible, cells, rows, heads) if fusible else call.plain()
    if len(hard_rows) and len(hard_heads):
        output = output.clone()
        found = explicit.attend(call, edits, cells, hard_rows, hard_heads)
        output[:, hard_rows[:, None], hard_heads[None]] = found
    elif len(hard_heads):
        explicit.look(call, edits, cells, hard_heads)
    return output


def _fusible(edit: AttentionEdit) -> bool:
    """Whether a mask or an added bias expresses the edit exactly."""
    match edit.operation:
        case Pattern() | Open() | Close() | Bias():
            return True
        case Scale(factor, renormalise):
            return renormalise and factor > 0
    return False


def _rows(edits: Sequence[AttentionEdit], cells: Cells, rows: Tensor) -> Tensor:
    """Indices of the queries that some edit means."""
    meant = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for edit in edits:
        queries = cells.queries(edit)
        if queries is None:
            return rows
        meant |= queries.any(dim=0)
    return rows[meant]


def _heads(edits: Sequence[AttentionEdit], cells: Cells, heads: Tensor) -> Tensor:
    """Indices of the heads that some edit means."""
    meant: set[int] = set()
    for edit in edits:
        chosen = edit.where.heads.of(cells.layer)
        # a function of the weights may count heads, and is given all of them
        if chosen is None or isinstance(edit.operation, Replace):
            return heads
        meant |= chosen
    return torch.tensor(sorted(meant), dtype=torch.long, device=heads.device)


def _biased(
    call: Call, edits: Sequence[AttentionEdit], cells: Cells, rows: Tensor, heads: Tensor
) -> Tensor:
    """The fused kernel with edits of the mask and added biases."""
    allowed = explicit.may_see(call, edits, cells, rows, heads)
    bias: Tensor | float = 0.0
    if call.mask is not None and call.mask.dtype != torch.bool:
        bias = call.mask[..., : call.key.shape[2]].float().masked_fill(~call.allowed(rows), 0.0)
    for edit in edits:
        match edit.operation:
            case Bias() as operation:
                bias = bias + operation.of(cells.layer) * cells.region(edit, rows, heads)
            case Scale(factor):
                bias = bias + math.log(factor) * cells.region(edit, rows, heads)
    mask = allowed
    if isinstance(bias, Tensor):
        mask = torch.where(allowed, bias.to(call.query.dtype), -math.inf)
    count = call.query.shape[1]
    output = scaled_dot_product_attention(
        call.query,
        for_all_heads(call.key, count),
        for_all_heads(call.value, count),
        attn_mask=mask,
        scale=call.scale,
    )
    # kernels differ in what a row without anything to see becomes
    output = output.masked_fill(~allowed.any(dim=-1, keepdim=True), 0.0)
    return output.transpose(1, 2).contiguous()

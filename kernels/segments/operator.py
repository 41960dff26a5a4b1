"""Segment attention: the operator of PINE and of its relatives, on ordinary keys in a cache.

PINE (Wang et al., arXiv 2407.01100, section 3.3) lets the segments of a group see each other and
places them, for each layer, head and query, by importance: the most important one closest. The
output after the group then does not depend on the order of the segments.

The released code rotates every key anew for every query. Here the *query* is turned instead, once
for each segment: within one segment all keys move equally far, by ``move``, and a score depends on
differences of positions, so that

    <q moved by lead, k moved by move>  =  <R(lead - move) q, k>

with ``q, k`` as the model rotated them and ``lead`` the move of the query's own segment (0 in
text). What is seen is the subject of ``sight.py``, how it is computed of ``parts.py``.
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from lmms_causal.errors import UserError, nearest
from lmms_causal.kernels.rotation import Rotation
from lmms_causal.kernels.segments.layout import SegmentLayout
from lmms_causal.kernels.segments.parts import attend_to_spans
from lmms_causal.kernels.segments.placement import Order
from lmms_causal.kernels.segments.sight import Row, Visible, spans

__all__ = ["segment_attention"]


def segment_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    layout: SegmentLayout,
    positions: Tensor,
    rotation: Rotation,
    scale: float,
    first_query: int,
    order: Order = "importance",
    visible: Visible = "mutual",
    softcap: float | None = None,
    window: int | None = None,
    unrotated: Tensor | None = None,
) -> Tensor:
    """Attend in one row of a batch whose prompt has groups of segments.

    Text sees everything before it. A token in a segment sees everything before the group, its own
    segment up to itself and, if ``visible`` is mutual, all of the group's other segments. To tokens
    after a group, those of later groups included, the group's segments are placed for each token by
    itself; to the tokens of a segment, for the segment as a whole.

    Inference only: a backward pass through the result raises.

    Args:
        q: queries ``[H, m, d]`` of columns ``first_query .. first_query + m - 1``, as the model
            rotated them.
        k: keys ``[H_k, n, d]`` of columns 0 to ``n - 1``, as the model rotated them; those after
            the last query are not seen, and those before the layout's first block neither.
        v: values ``[H_k, n, e]``.
        layout: text and segments of the row.
        positions: the model's position of each column, ``[n]``, or ``[axes, n]`` for M-RoPE.
        rotation: the model's rotary embedding, without any scaling of cosines.
        scale: factor of the scores.
        first_query: column of the first query.
        order: ``importance`` (PINE), ``reverse`` (least important closest), ``sequential`` (nothing
            moves), ``stacked`` (all segments end right before the text after the group).
        visible: whether a segment's tokens see the group's other segments (``mutual``) or not
            (``own``). NIA is ``sequential, own``; PCW is ``stacked, own``.
        softcap: cap of the scores; it applies to importance as well (our choice: PINE was
            published on models without).
        window: let a query see keys less than so many positions before it, after they were moved
            (on the first axis). Importance is judged on whole segments nevertheless.
        unrotated: ``unrotated_keys(...)`` of the prompt, to save the work at each step.

    Returns:
        ``[H, m, e]`` of ``q``'s type; 0 for queries in the padding.

    Raises:
        UserError: an unknown ``order`` or ``visible``; keys that are missing; a call whose queries
            cut a segment in two where its order depends on all of it.
    """
    _check("order", order, get_args(Order))
    _check("visible", visible, get_args(Visible))
    n = first_query + q.shape[1]
    if k.shape[1] < n or positions.shape[-1] < n:
        raise UserError(
            f"the last query is in column {n - 1}, but there are {k.shape[1]} keys and "
            f"{positions.shape[-1]} positions; pass those of all columns up to it"
        )
    with torch.no_grad():
        row = Row(
            q=q,
            k=k[:, :n],
            v=v[:, :n],
            layout=layout.covering(n),
            positions=positions[..., :n].to(q.device),
            rotation=rotation,
            scale=scale,
            first_query=first_query,
            order=order,
            visible=visible,
            softcap=softcap,
            window=window,
            unrotated=unrotated,
        )
        out = _by_blocks(row)
    return _Inference.apply(out, q) if torch.is_grad_enabled() and q.requires_grad else out


def _by_blocks(row: Row) -> Tensor:
    """Attend from each block of the row in turn: its queries see the same spans."""
    out = row.q.new_empty(*row.q.shape[:2], row.v.shape[-1])
    out[:, : max(0, row.layout.blocks[0].start - row.first_query)] = 0
    for block in row.layout.blocks:
        start = max(block.start, row.first_query)
        if start < block.stop:
            q = row.queries(start, block.stop)
            rows = slice(start - row.first_query, block.stop - row.first_query)
            out[:, rows] = attend_to_spans(row, q, spans(row, block, start), start)
    return out


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{name} {value!r} is not one of {', '.join(known)}{nearest(value, known)}")


class _Inference(torch.autograd.Function):
    """Joins the result to its query, so that a backward pass raises instead of leaving it out."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, q: Tensor) -> Tensor:
        """Return the result."""
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Raise."""
        raise UserError("segment attention has no gradient; run the model for inference only")

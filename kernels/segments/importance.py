"""How important each segment is to a query: attention without positions (PINE, section 3.3).

With ``q0, k0`` free of the rotary embedding and ``w`` the softmax over the keys of the group alone,
the importance of segment ``c`` to a token is the mean of ``w`` over the segment's tokens, and to
another segment the sum of that over the other's tokens. (Divided by the number of *tokens* even
where positions are fewer, since it is tokens that attention is shared among.)

In half precision the scores are rounded to that type, as they are in the explicit attention of the
models. That error is of the size of the one that rounded keys have anyway. Matrix products were
measured against the log-sum-exp of the fused kernel, which computes outputs that nobody needs:
0.75 of its time in float32, 0.5 in bfloat16 (450 queries, 1350 keys, 16 heads).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lmms_causal.kernels.partial import products
from lmms_causal.kernels.rotation import Rotation, undo, wide_type
from lmms_causal.kernels.segments.layout import SegmentLayout

__all__ = ["segment_importance", "token_importance", "unrotated_keys"]

_SCORES = 1 << 19  # scores held at a time: 2 MB in float32, small enough to stay in a cache


def unrotated_keys(
    k: Tensor, layout: SegmentLayout, positions: Tensor, rotation: Rotation
) -> Tensor:
    """Return the keys of all segments with the rotary embedding undone.

    They do not change while tokens are generated; whoever keeps them saves each step the work.

    Args:
        k: rotated keys of one row ``[H_k, n, d]``.
        layout: of the row.
        positions: of all columns ``[n]`` or ``[axes, n]``.
        rotation: of the model.

    Returns:
        ``[H_k, S, d]``, ``S`` the number of columns in groups of two or more segments.
    """
    regions = [slice(group[0].start, group[-1].stop) for group in layout.groups]
    if not regions:
        return k[:, :0]
    parts = [undo(k[:, region], positions[..., region], rotation) for region in regions]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def token_importance(
    q0: Tensor, k0: Tensor, lengths: Sequence[int], *, scale: float, softcap: float | None = None
) -> Tensor:
    """Return the importance of each segment to each token outside the group.

    Args:
        q0: queries without rotary embedding ``[H, m, d]``.
        k0: keys of the group without rotary embedding ``[H_k, S, d]``.
        lengths: tokens of each segment, ``k`` of them with sum ``S``.
        scale: factor of the scores.
        softcap: cap of the scores, where the model has one.

    Returns:
        ``[H, m, k]`` in float32 (float64 for float64).
    """
    importance = q0.new_empty(*q0.shape[:2], len(lengths), dtype=wide_type(q0.dtype))
    for heads, rows, weights in _weights(q0, k0, scale, softcap):
        masses = [part.sum(-1) for part in weights.split(list(lengths), -1)]
        importance[heads, rows] = torch.stack(masses, -1)
    return importance.div_(torch.tensor(lengths, device=q0.device))


def segment_importance(
    q0: Tensor,
    k0: Tensor,
    lengths: Sequence[int],
    own: int,
    *,
    scale: float,
    softcap: float | None = None,
) -> Tensor:
    """Return the importance of each segment to one segment of the group.

    Args:
        q0: queries of all of that segment's tokens without rotary embedding ``[H, m, d]``.
        k0, lengths, scale, softcap: as for ``token_importance``.
        own: the index of that segment, whose own keys take no part.

    Returns:
        ``[H, k]``, 0 for the segment itself.
    """
    before = sum(lengths[:own])
    others = torch.cat([k0[:, :before], k0[:, before + lengths[own] :]], 1)
    received = q0.new_zeros(q0.shape[0], others.shape[1], dtype=wide_type(q0.dtype))
    for heads, _, weights in _weights(q0, others, scale, softcap):
        received[heads] += weights.sum(1)
    rest = [length for index, length in enumerate(lengths) if index != own]
    means = [part.mean(-1) for part in received.split(rest, -1)]
    means.insert(own, received.new_zeros(received.shape[0]))
    return torch.stack(means, -1)


def _weights(
    q0: Tensor, k0: Tensor, scale: float, softcap: float | None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield heads, rows, and the softmax of their scores ``[heads, rows, S]``, piece by piece.

    A piece is of one key head where it cannot be of all: the fewer the rows of a matrix product
    with so narrow matrices, the slower it is.
    """
    heads, m, width = q0.shape
    shared, group = k0.shape[0], heads // k0.shape[0]
    taken = shared if heads * m * k0.shape[1] <= _SCORES else 1
    step = max(1, _SCORES // (taken * group * k0.shape[1]))
    for head in range(0, shared, taken):
        some = slice(head * group, (head + taken) * group)
        keys = k0[head : head + taken]
        for first in range(0, m, step):
            rows = slice(first, first + step)
            queries = q0[some, rows].reshape(taken, -1, width)  # heads that share keys
            scores = products(queries, keys, scale)
            if softcap is not None:
                scores.div_(softcap).tanh_().mul_(softcap)
            weights = torch.softmax(scores, -1, dtype=wide_type(q0.dtype))
            yield some, rows, weights.view(taken * group, -1, k0.shape[1])

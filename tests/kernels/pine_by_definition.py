"""PINE as it is defined: every key rotated anew for every query, everything in one table.

Written from the definition (layout, importance, positions) and nothing else; slow, in float64, and
sharing no code with ``lmms_causal.kernels``. It takes queries and keys *before* the rotary
embedding. Columns are positions, counted from the first column that is no padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Groups = Sequence[Sequence[tuple[int, int]]]


def rotated(x: Tensor, position: float, inv_freq: Tensor, interleaved: bool = False) -> Tensor:
    """Rotate ``x [..., D]`` to one position, pair by pair with complex numbers."""
    f = inv_freq.shape[0]
    a, b = (x[..., 0 : 2 * f : 2], x[..., 1 : 2 * f : 2])
    if not interleaved:
        a, b = x[..., :f], x[..., f : 2 * f]
    turned = torch.complex(a, b) * torch.exp(1j * position * inv_freq)
    pairs = [turned.real, turned.imag]
    head = torch.stack(pairs, -1).flatten(-2) if interleaved else torch.cat(pairs, -1)
    return torch.cat([head, x[..., 2 * f :]], -1)


def segment_of(groups: Groups, column: int) -> tuple[int, int] | None:
    """Return the group and the segment that a column is in."""
    for g, spans in enumerate(groups):
        for c, (start, stop) in enumerate(spans):
            if start <= column < stop:
                return g, c
    return None


def put_back(importance: Sequence[float], lengths: Sequence[int], order: str, own: int | None):
    """Return each segment's shift: the lengths of those ranked before it."""
    sign = -1 if order == "importance" else 1
    ranking = sorted(range(len(lengths)), key=lambda c: sign * importance[c])  # stable
    if own is not None:
        ranking.remove(own)
        ranking.insert(0, own)
    return [sum(lengths[b] for b in ranking[: ranking.index(c)]) for c in range(len(lengths))]


def pine_by_definition(
    q0: Tensor,
    k0: Tensor,
    v: Tensor,
    groups: Groups,
    inv_freq: Tensor,
    scale: float,
    *,
    first: int = 0,
    order: str = "importance",
    visible: str = "mutual",
    softcap: float | None = None,
    window: int | None = None,
    interleaved: bool = False,
) -> tuple[Tensor, dict[tuple[int, int, int], float]]:
    """Return outputs ``[H, n, e]`` and the position of each key to each query.

    Args:
        q0, k0, v: ``[H, n, d]``, ``[H_k, n, d]``, ``[H_k, n, e]``, without rotary embedding.
        groups: columns of the segments.
        inv_freq, scale, softcap, window, order, visible, interleaved: as for the operator.
        first: first column that is no padding.
    """
    heads, n, _ = q0.shape
    share = heads // k0.shape[0]

    def score(query: Tensor, key: Tensor) -> Tensor:
        plain = scale * (query * key).sum(-1)
        return plain if softcap is None else softcap * torch.tanh(plain / softcap)

    def means(h: int, i: int, spans: Sequence[tuple[int, int]], own: int | None) -> list[float]:
        """u_c(i): the mean of the weights over each segment's tokens."""
        columns = [j for c, span in enumerate(spans) if c != own for j in range(*span)]
        weights = score(q0[h, i], k0[h // share, columns]).softmax(0)
        weight = dict(zip(columns, weights.tolist(), strict=True))
        return [
            0.0 if c == own else sum(weight[j] for j in range(*span)) / (span[1] - span[0])
            for c, span in enumerate(spans)
        ]

    out = v.new_zeros(heads, n, v.shape[-1])
    placed: dict[tuple[int, int, int], float] = {}
    for h in range(heads):
        for i in range(first, n):
            at = segment_of(groups, i)
            position = {j: j - first for j in range(first, i + 1)}  # of each visible key
            mine = i - first
            for g, spans in enumerate(groups):
                inside = at is not None and at[0] == g
                if not inside and spans[0][0] > i:
                    continue
                own = at[1] if inside else None
                lengths = [stop - start for start, stop in spans]
                end = spans[-1][1] - first
                if order in ("importance", "reverse"):
                    if inside:
                        rows = [means(h, t, spans, own) for t in range(*spans[own])]
                        importance = [sum(column) for column in zip(*rows, strict=True)]
                    else:
                        importance = means(h, i, spans, None)
                    shift = put_back(importance, lengths, order, own)
                else:
                    shift = [0] * len(spans)
                for c, (start, stop) in enumerate(spans):
                    for j in range(start, stop):
                        place = j - first
                        if order != "sequential":
                            place = end - lengths[c] + (j - start) - shift[c]
                        if inside and c == own:
                            if j <= i:
                                position[j] = place
                            if j == i:
                                mine = place
                        elif inside and visible == "own":
                            position.pop(j, None)
                        else:
                            position[j] = place
            if window is not None:
                position = {j: place for j, place in position.items() if mine - place < window}
            columns = sorted(position)
            keys = torch.stack(
                [rotated(k0[h // share, j], position[j], inv_freq, interleaved) for j in columns]
            )
            query = rotated(q0[h, i], mine, inv_freq, interleaved)
            out[h, i] = score(query, keys).softmax(0) @ v[h // share, columns]
            placed.update({(h, i, j): position[j] for j in columns})
    return out, placed

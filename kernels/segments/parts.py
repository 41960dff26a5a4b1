"""The arithmetic of segment attention: queries against the spans of keys that they see.

There are two ways. A few queries, as while tokens are generated, make one table of scores, a
product for each span: next to nothing is computed and calls are what costs. Many queries attend to
each span by a fused kernel and the parts are merged, so that no table is held.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lmms_causal.kernels.attention import attention
from lmms_causal.kernels.partial import Part, attend, merge, products
from lmms_causal.kernels.patterns import Causal, Full
from lmms_causal.kernels.rotation import rotate, wide_type
from lmms_causal.kernels.segments.sight import Row, Span

__all__ = ["attend_to_spans"]

_FEW = 64  # rows of queries for each key head, up to which a table is faster than fused kernels
_TABLE = 1 << 21  # and how many scores it may have
_MASKED = 1 << 22  # cells of a window's mask that are held at a time
_CAUSAL, _FULL = Causal(), Full()


def attend_to_spans(row: Row, q: Tensor, seen: list[Span], start: int) -> Tensor:
    """Attend from queries ``q [H, m, d]`` of columns from ``start`` on; ``[H, m, e]``."""
    heads, m, _ = q.shape
    columns = seen[-1].stop - seen[0].start
    gapless = columns == sum(span.stop - span.start for span in seen)
    few = heads * m <= _FEW * row.k.shape[0] and heads * m * columns <= _TABLE
    if few and gapless:
        return _by_table(row, q, seen, start)
    out, _ = merge(_parts(row, q, seen, start))
    return out[0]


def _by_table(row: Row, q: Tensor, seen: list[Span], start: int) -> Tensor:
    """Attend by a table of all scores, which are computed in float32 (float64 for float64)."""
    heads, m, width = q.shape
    wide = wide_type(q.dtype)
    tables = []
    for query, span in zip(_turned(row, q.to(wide), seen), seen, strict=True):
        keys = row.k[:, span.start : span.stop].to(wide)
        rows = query.reshape(keys.shape[0], -1, width)  # heads that share keys
        tables.append(products(rows, keys, row.scale))
    scores = torch.cat(tables, -1)
    if row.softcap is not None:
        scores.div_(row.softcap).tanh_().mul_(row.softcap)
    table = scores.view(heads, m, -1)
    for span in seen:
        if row.window is not None or (span.causal and m > 1):
            cells = table[..., span.start - seen[0].start : span.stop - seen[0].start]
            cells.masked_fill_(_hidden(row, span, start, 0, m), -torch.inf)
    values = row.v[:, seen[0].start : seen[-1].stop]
    return torch.matmul(scores.softmax(-1).to(values.dtype), values).view(heads, m, -1)


def _turned(row: Row, q: Tensor, seen: list[Span]) -> list[Tensor]:
    """The query as it meets each span, turned for all of them in one go."""
    moved = [index for index, span in enumerate(seen) if not _stays(span)]
    turned = [q] * len(seen)
    if moved:
        angles = (torch.as_tensor(seen[index].turn, device=q.device) for index in moved)
        every = torch.stack([angle.expand(q.shape[:2]) for angle in angles])
        for index, query in zip(moved, rotate(q, every, row.rotation), strict=True):
            turned[index] = query
    return turned


def _parts(row: Row, q: Tensor, seen: list[Span], start: int) -> Iterator[Part]:
    """Attend to one span after the other, ``[1, H, m, ...]``."""
    together: list[Span] = []
    apart: list[Span] = []
    for span in seen:
        shared = isinstance(span.turn, Tensor) and span.turn.shape[-1] == 1
        (together if shared and row.window is None else apart).append(span)
    if together:
        yield _moved_keys(row, q, together)
    for span in apart:
        turned = (q if _stays(span) else rotate(q, span.turn, row.rotation)).unsqueeze(0)
        k, v = (x[None, :, span.start : span.stop] for x in (row.k, row.v))
        if row.window is None:
            yield _fused(row, turned, k, v, span.causal)
        else:
            yield _windowed(row, turned, k, v, span, start)


def _fused(row: Row, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Part:
    """Attend without a mask, by the backend that fits: the compiled kernels where they are."""
    return attention(
        q,
        k,
        v,
        pattern=_CAUSAL if causal else _FULL,
        scale=row.scale,
        softcap=row.softcap,
        return_lse=True,
    )


def _moved_keys(row: Row, q: Tensor, seen: list[Span]) -> Part:
    """Attend to spans that are placed alike for all queries: move the keys, in a single call.

    That turns as many numbers as turning the queries for each span would, but leaves one part to
    merge instead of one for each segment.
    """
    heads, m, width = q.shape
    shared = row.k.shape[0]
    grouped = (shared, heads // shared)
    keys = [
        rotate(row.k[:, None, span.start : span.stop], -span.turn.view(*grouped, 1), row.rotation)
        for span in seen
        if isinstance(span.turn, Tensor)
    ]
    values = torch.cat([row.v[:, span.start : span.stop] for span in seen], 1)
    out, lse = _fused(
        row,
        q.reshape(*grouped, m, width),
        torch.cat(keys, 2),
        values[:, None].expand(*grouped, -1, -1),
        False,
    )
    return out.reshape(1, heads, m, -1), lse.reshape(1, heads, m)


def _windowed(row: Row, q: Tensor, k: Tensor, v: Tensor, span: Span, start: int) -> Part:
    """Attend to those keys of a span that are in the window once the span has moved."""
    m = q.shape[2]
    reach, places = _reach(row, span, start, 0, m)
    if int(reach.max()) < int(places.min()):  # all of it is near enough
        return _fused(row, q, k, v, span.causal)
    rows = max(1, _MASKED // (q.shape[1] * places.shape[0]))
    parts = []
    for first in range(0, m, rows):
        some = q[:, :, first : first + rows]
        mask = ~_hidden(row, span, start, first, first + some.shape[2])[None]
        parts.append(attend(some, k, v, scale=row.scale, mask=mask, softcap=row.softcap))
    return torch.cat([out for out, _ in parts], 2), torch.cat([lse for _, lse in parts], 2)


def _hidden(row: Row, span: Span, start: int, first: int, last: int) -> Tensor:
    """Which keys of a span queries ``first .. last - 1`` do not see ``[1 or H, queries, keys]``."""
    columns = torch.arange(span.start, span.stop, device=row.q.device)
    own = torch.arange(start + first, start + last, device=row.q.device)
    hidden = (columns > own[:, None])[None]
    if row.window is not None:
        reach, places = _reach(row, span, start, first, last)
        hidden = hidden & span.causal | (places <= reach[..., None])
    return hidden


def _reach(row: Row, span: Span, start: int, first: int, last: int) -> tuple[Tensor, Tensor]:
    """The last position of a span that is out of reach ``[1 or H, queries]``, and its positions."""
    assert row.window is not None
    line = row.positions if row.positions.dim() == 1 else row.positions[0]
    turn = span.turn
    if isinstance(turn, Tensor) and turn.shape[-1] > 1:
        turn = turn[:, first:last]
    reach = line[start + first : start + last] + turn - row.window
    return reach.view(-1, last - first), line[span.start : span.stop]


def _stays(span: Span) -> bool:
    return isinstance(span.turn, int) and span.turn == 0

"""The forms of LightNet, as :mod:`lightnet` explains them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu

from lmms_causal.kernels.linear.heads import rows_of, split_heads
from lmms_causal.kernels.rotation import wide_type

__all__ = ["LightNetState", "bidirectional", "chunked", "naive", "recurrent", "start"]

_LIFT = 40.0  # of the reference above the first normaliser
_RISE = 100.0  # of keys in a chunk above what was before, at most: exp(100 - 40) is finite


class LightNetState(NamedTuple):
    """What is kept of the tokens seen.

    Attributes:
        memory: ``S``, ``[B, H_k, D, E]`` in float32 (float64 for float64).
        z: the normalisers ``[B, H_k, D]`` likewise; ``-inf`` where nothing was seen.
    """

    memory: Tensor
    z: Tensor


def bidirectional(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, state: LightNetState | None
) -> tuple[Tensor, LightNetState]:
    """Every token sees every other: ``phi(Q) softmax_over_tokens(K)^T V``, in one pass."""
    memory, z = start(q, k, v, state)
    keys = k.to(z.dtype)
    total = torch.logaddexp(z, keys.logsumexp(2)) if k.shape[2] else z
    base = _finite(total)
    seen = (keys - base[:, :, None]).exp().mT @ v.to(z.dtype)
    kept = LightNetState(seen + (z - base).exp()[..., None] * memory, total)
    rows = split_heads(silu(q.to(z.dtype)), k.shape[1]).flatten(2, 3)
    out = (rows @ kept.memory).mul(scale).view(*q.shape[:3], v.shape[3])
    return out.to(q.dtype), kept


def naive(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, state: LightNetState | None
) -> tuple[Tensor, LightNetState]:
    """The definition, with a table of all pairs and channels ``[B, H_k, N, N, D]``."""
    memory, z0 = start(q, k, v, state)
    if not k.shape[2]:
        return q.new_empty(*q.shape[:3], v.shape[3]), LightNetState(memory, z0)
    keys, values = k.to(z0.dtype), v.to(z0.dtype)
    z = torch.cat([z0[:, :, None], keys], 2).logcumsumexp(2)[:, :, 1:]
    base = _finite(z)
    length = k.shape[2]
    later = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    shares = (keys[:, :, None] - base[:, :, :, None]).masked_fill(later[..., None], -torch.inf)
    states = torch.einsum("bhtsd,bhse->bhtde", shares.exp(), values)
    states = states + (z0[:, :, None] - base).exp()[..., None] * memory[:, :, None]
    rows = split_heads(silu(q.to(z.dtype)), k.shape[1])
    out = torch.einsum("bhgtd,bhtde->bhgte", rows, states).mul(scale).flatten(1, 2)
    return out.to(q.dtype), LightNetState(states[:, :, -1], z[:, :, -1])


def recurrent(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, state: LightNetState | None
) -> tuple[Tensor, LightNetState]:
    """Token by token."""
    memory, z = start(q, k, v, state)
    rows = split_heads(q, k.shape[1])
    parts = []
    for t in range(q.shape[2]):
        key, value = k[:, :, t].to(z.dtype), v[:, :, t, None].to(z.dtype)
        total = torch.logaddexp(z, key)
        base = _finite(total)
        new = (key - base).exp()[..., None] * value
        memory, z = (z - base).exp()[..., None] * memory + new, total
        out = silu(rows[:, :, :, t].to(z.dtype)) @ memory
        parts.append((out * scale).flatten(1, 2).to(q.dtype))
    out = torch.stack(parts, 2) if parts else q.new_empty(*q.shape[:3], v.shape[3])
    return out, LightNetState(memory, z)


def chunked(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, chunk: int, state: LightNetState | None
) -> tuple[Tensor, LightNetState]:
    """Chunk by chunk: pairs within one by a table, what was before it from the state."""
    batch, shared = k.shape[:2]
    memory, z_start = start(q, k, v, state)
    memory, z = memory.flatten(0, 1), z_start.flatten(0, 1)[:, None]  # [B H_k, 1, D]
    q_5, k_5, v_5 = (split_heads(x, shared) for x in (q, k, v))
    ones = torch.ones(chunk, chunk, dtype=z.dtype, device=z.device).tril_()
    parts = []
    for some in _pieces(k, z_start, chunk):
        rows, keys, values = (rows_of(x, some, z.dtype) for x in (q_5, k_5, v_5))
        count = keys.shape[1]
        # a reference, of which the result does not depend
        r = _finite(torch.logaddexp(z, keys[:, :1]).detach()) + _LIFT
        x, p = (keys - r).exp(), (z - r).exp()
        w = torch.matmul(ones[:count, :count], x) + p  # a running sum
        closed = w == 0  # nothing but padding so far
        w = w.masked_fill(closed, 1)
        rows = silu(rows).mul_(scale).unflatten(1, (-1, count)) / w[:, None]
        since = (rows * p[:, None]).flatten(1, 2)
        rows = rows.flatten(1, 2)
        within = torch.bmm(rows, x.mT)
        within.unflatten(1, (-1, count)).tril_()
        out = torch.bmm(within, values).baddbmm_(since, memory)
        parts.append(out.view(batch, -1, count, out.shape[-1]).to(q.dtype))
        last = w[:, -1:]
        memory = torch.baddbmm(memory * p.mT, x.mT, values) / last.mT
        z = (r + last.log()).masked_fill(closed[:, -1:], -torch.inf)
    out = torch.cat(parts, 2) if parts else q.new_empty(*q.shape[:3], v.shape[3])
    kept = LightNetState(
        memory.unflatten(0, (batch, shared)), z[:, 0].unflatten(0, (batch, shared))
    )
    return out, kept


def _pieces(k: Tensor, z: Tensor, chunk: int) -> Iterator[slice]:
    """Chunks, halved where in some channel keys rise too far above what was before them."""
    length, chunks = k.shape[2], k.shape[2] // chunk
    keys = k.detach()
    tops = keys[:, :, : chunks * chunk].unflatten(2, (chunks, chunk)).amax(3).to(z.dtype)
    before = torch.cat([z.detach()[:, :, None], tops], 2).cummax(2).values
    first = keys[:, :, : chunks * chunk : chunk].to(z.dtype)
    rises = (tops - torch.maximum(before[:, :, :-1], first)).nan_to_num(0)
    safe = (rises.amax((0, 1, 3)) <= _RISE).tolist()
    for index, good in enumerate(safe):
        at = index * chunk
        if good:
            yield slice(at, at + chunk)
        else:
            yield from _halved(keys, before[:, :, index], at, at + chunk)
    if chunks * chunk < length:
        yield from _halved(keys, before[:, :, -1], chunks * chunk, length)


def _halved(keys: Tensor, before: Tensor, start: int, stop: int) -> Iterator[slice]:
    part = keys[:, :, start:stop].to(before.dtype)
    rise = (part.amax(2) - torch.maximum(before, part[:, :, 0])).nan_to_num(0)
    if stop - start == 1 or bool(rise.max() <= _RISE):
        yield slice(start, stop)
        return
    middle = (start + stop) // 2
    yield from _halved(keys, before, start, middle)
    top = torch.maximum(before, keys[:, :, start:middle].amax(2).to(before.dtype))
    yield from _halved(keys, top, middle, stop)


def start(q: Tensor, k: Tensor, v: Tensor, state: LightNetState | None) -> tuple[Tensor, Tensor]:
    """Memory and normalisers to start from."""
    wide = wide_type(q.dtype)
    if state is not None:
        return state.memory.to(wide), state.z.to(wide)
    batch, shared, _, width = k.shape
    empty = q.new_zeros(batch, shared, width, v.shape[3], dtype=wide)
    return empty, q.new_full((batch, shared, width), -torch.inf, dtype=wide)


def _finite(z: Tensor) -> Tensor:
    """Normalisers to subtract: 0 where nothing was seen."""
    return z.masked_fill(z == -torch.inf, 0)

"""Our block-sparse kernel for GPUs, in Triton. Experimental: it has run interpreted only.

A program takes a tile of queries of one head along its list of key tiles, by the same lists and
bitmaps as the kernel for processors, with a running maximum and sum (Dao, "FlashAttention-2",
arXiv 2307.08691).

To run it on a processor, set ``TRITON_INTERPRET=1`` before Triton is imported. The interpreter's
matrix product is wrong in bfloat16, so operands are widened there.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lmms_causal.kernels.backends.conditions import wants_gradient
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.backends.reordering import put_back, reordered
from lmms_causal.kernels.patterns import TilePlan, tile_plan

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

__all__ = ["BACKEND"]

_TERMS = 8
_WIDTH = 256


class _TritonSparse:
    name = "triton_sparse"

    def missing(self) -> str | None:
        """Needs Triton, and a CUDA device or its interpreter."""
        if triton is None:
            return "Triton is not installed; pip install triton"
        if not torch.cuda.is_available() and not _interpreted():
            return "there is no CUDA device; TRITON_INTERPRET=1 runs it on the processor, slowly"
        return None

    def verify(self, problem: Problem) -> str | None:
        """Refuse gradients, edits of weights, wide heads."""
        q, edits = problem.q, problem.edits
        if q.device.type != ("cpu" if _interpreted() else "cuda"):
            return f"the tensors are on {q.device}"
        if q.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            return f"it has no {str(q.dtype).removeprefix('torch.')}"
        if wants_gradient(problem):
            return "it computes no gradients"
        if any(term.kind == "weigh" for term in edits.terms):
            return "it edits scores, not weights"
        if len(edits.terms) > _TERMS:
            return f"{len(edits.terms)} terms are more than {_TERMS}"
        if max(q.shape[-1], problem.v.shape[-1]) > _WIDTH:
            return f"heads are wider than {_WIDTH}"
        if not problem.context.queries or not problem.context.keys:
            return "there are no queries or no keys"
        return None

    def run(self, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Compute."""
        context = problem.context
        plan = tile_plan(problem.pattern, context, 16 if context.queries <= 16 else 64, 64)
        problem = reordered(problem, plan.order)
        q, k, v = problem.q, problem.k, problem.v
        batch, heads, m, width = q.shape
        out = q.new_empty(batch, heads, m, v.shape[-1])
        lse = q.new_empty(batch, heads, m, dtype=torch.float32)
        keys, rows = _terms(problem)
        gains = sum(1 << r for r, term in enumerate(problem.edits.terms) if term.kind == "gain")
        starts, columns, masks, bitmaps = _on_device(plan, str(q.device))
        _attend[(plan.q_tiles, batch * heads)](
            q,
            k,
            v,
            out,
            lse,
            starts,
            columns,
            masks,
            bitmaps,
            keys,
            rows,
            *q.stride(),
            *k.stride(),
            *v.stride(),
            *out.stride(),
            problem.scale,
            problem.softcap or 0.0,
            heads,
            heads // k.shape[1],
            plan.planes,
            plan.q_tiles,
            m,
            context.keys,
            WIDTH=width,
            VALUE_WIDTH=v.shape[-1],
            D=max(16, triton.next_power_of_2(width)),
            E=max(16, triton.next_power_of_2(v.shape[-1])),
            Q_TILE=plan.q_tile,
            K_TILE=plan.k_tile,
            TERMS=len(problem.edits.terms),
            GAINS=gains,
            SOFTCAP=problem.softcap is not None,
            WIDEN=_interpreted(),
        )
        if problem.edits.head_scale is not None:
            out = (out * problem.edits.head_scale[:, :, None, None]).to(out.dtype)
        return put_back(out, plan.order), put_back(lse, plan.order) if problem.lse else None


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@cache
def _nothing(device: str) -> tuple[Tensor, Tensor]:
    """What stands for lists that have no members."""
    return (
        torch.zeros(1, dtype=torch.int32, device=device),
        torch.zeros(1, dtype=torch.uint8, device=device),
    )


def _on_device(plan: TilePlan, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    none, no_bits = _nothing(device)
    return (
        plan.starts.to(device),
        plan.columns.to(device) if len(plan.columns) else none,
        plan.masks.to(device) if len(plan.masks) else none,
        plan.bitmaps.to(device) if len(plan.bitmaps) else no_bits,
    )


def _terms(problem: Problem) -> tuple[Tensor, Tensor]:
    """Both vectors of all terms, float32 ``[R, B, H, n]`` and ``[R, B, H, m]``."""
    batch, heads, m, _ = problem.q.shape
    terms, n = problem.edits.terms, problem.context.keys
    if not terms:
        nothing = torch.zeros(1, device=problem.q.device)
        return nothing, nothing
    one = torch.ones(1, 1, m, device=problem.q.device)
    keys = [term.keys.float().expand(batch, heads, n) for term in terms]
    rows = [
        (one if term.rows is None else term.rows.float()).expand(batch, heads, m) for term in terms
    ]
    return torch.stack(keys), torch.stack(rows)


def _kernel(
    q_at,
    k_at,
    v_at,
    out_at,
    lse_at,
    starts,
    columns,
    masks,
    bitmaps,
    term_keys,
    term_rows,
    q_b,
    q_h,
    q_m,
    q_d,
    k_b,
    k_h,
    k_n,
    k_d,
    v_b,
    v_h,
    v_n,
    v_e,
    o_b,
    o_h,
    o_m,
    o_e,
    scale,
    softcap,
    heads,
    groups,
    planes,
    q_tiles,
    m,
    n,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    Q_TILE: tl.constexpr,
    K_TILE: tl.constexpr,
    TERMS: tl.constexpr,
    GAINS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """One tile of queries of one head. ``TERMS`` vectors are added, or multiplied by the absolute
    score where the bit of ``GAINS`` is set."""
    tile = tl.program_id(0)
    line = tl.program_id(1)
    b = (line // heads).to(tl.int64)
    h = line % heads
    shared = (h // groups).to(tl.int64)
    i = tile * Q_TILE + tl.arange(0, Q_TILE)
    d = tl.arange(0, D)
    e = tl.arange(0, E)
    here = i < m
    q = tl.load(
        q_at + b * q_b + h.to(tl.int64) * q_h + i[:, None] * q_m + d[None, :] * q_d,
        mask=here[:, None] & (d[None, :] < WIDTH),
        other=0.0,
    )
    if WIDEN:
        q = q.to(tl.float32)
    top = tl.full([Q_TILE], float("-inf"), tl.float32)
    total = tl.zeros([Q_TILE], tl.float32)
    acc = tl.zeros([Q_TILE, E], tl.float32)
    row = (h * planes // heads) * q_tiles + tile
    for at in range(tl.load(starts + row), tl.load(starts + row + 1)):
        j = tl.load(columns + at) * K_TILE + tl.arange(0, K_TILE)
        there = j < n
        k = tl.load(
            k_at + b * k_b + shared * k_h + j[None, :] * k_n + d[:, None] * k_d,
            mask=there[None, :] & (d[:, None] < WIDTH),
            other=0.0,
        )
        if WIDEN:
            k = k.to(tl.float32)
        s = tl.dot(q, k, input_precision="ieee") * scale
        if SOFTCAP:
            s = softcap * (1.0 - 2.0 / (tl.exp(2.0 * s / softcap) + 1.0))
        for r in tl.static_range(TERMS):
            u = tl.load(term_rows + (r * tl.num_programs(1) + line) * m + i, mask=here, other=0.0)
            w = tl.load(term_keys + (r * tl.num_programs(1) + line) * n + j, mask=there, other=0.0)
            product = u[:, None] * w[None, :]
            if (GAINS >> r) & 1:  # noqa: SIM108 known when compiled
                s = s + product * tl.abs(s)
            else:
                s = s + product
        seen = there[None, :] & here[:, None]
        mask = tl.load(masks + at)
        if mask >= 0:
            within = tl.arange(0, K_TILE)
            byte = tl.load(
                bitmaps
                + (mask * Q_TILE + tl.arange(0, Q_TILE)[:, None]) * (K_TILE // 8)
                + (within // 8)[None, :]
            )
            seen = seen & (((byte.to(tl.int32) >> (within % 8)[None, :]) & 1) == 1)
        s = tl.where(seen, s, float("-inf"))
        higher = tl.maximum(top, tl.max(s, 1))
        level = tl.where(higher == float("-inf"), 0.0, higher)  # nothing seen so far
        p = tl.exp(s - level[:, None])
        shrink = tl.exp(top - level)
        total = total * shrink + tl.sum(p, 1)
        v = tl.load(
            v_at + b * v_b + shared * v_h + j[:, None] * v_n + e[None, :] * v_e,
            mask=there[:, None] & (e[None, :] < VALUE_WIDTH),
            other=0.0,
        )
        if WIDEN:
            v = v.to(tl.float32)
        acc = acc * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        top = higher
    some = total > 0
    share = tl.where(some, total, 1.0)
    tl.store(
        out_at + b * o_b + h.to(tl.int64) * o_h + i[:, None] * o_m + e[None, :] * o_e,
        (acc / share[:, None]).to(out_at.dtype.element_ty),
        mask=here[:, None] & (e[None, :] < VALUE_WIDTH),
    )
    sums = tl.where(some, tl.log(share) + top, float("-inf"))
    tl.store(lse_at + line.to(tl.int64) * m + i, sums, mask=here)


_attend: Any = None if triton is None else triton.jit(_kernel)

BACKEND = _TritonSparse()

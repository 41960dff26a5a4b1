"""torch alone, for any pattern and any edit: for each tile of queries the keys it sees, together.

Keys are a slice where what a tile sees lies together, as in a window, and are gathered otherwise.
Each tile then is one call of torch's fused kernel with a small mask, or, where edits need the
weights, matrix products. A few queries, as in decoding, always are products: of what torch has, the
fastest then. Differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmms_causal.kernels.backends.conditions import beyond_adding, wants_gradient
from lmms_causal.kernels.backends.explicit import explicit
from lmms_causal.kernels.backends.fused import fused
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.backends.reordering import put_back, reordered
from lmms_causal.kernels.backends.selection import Selection, of_step, of_tile
from lmms_causal.kernels.patterns import tile_plan
from lmms_causal.kernels.rotation import wide_type

__all__ = ["BACKEND"]

_Q_TILE, _K_TILE = 128, 64
_SCORES = 1 << 23  # written out at a time


class _Gather:
    name = "gather"

    def missing(self) -> str | None:
        """Runs everywhere."""
        return None

    def verify(self, problem: Problem) -> str | None:
        """Serves everything."""
        return None

    def run(self, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Compute tile by tile of queries."""
        problem.pattern.check(problem.context)
        if problem.decoding:
            out, lse = _attend(problem, of_step(problem.pattern, problem.context), True)
        else:
            out, lse = _tiles(problem)
        if problem.edits.head_scale is not None:
            out = (out * problem.edits.head_scale[:, :, None, None]).to(out.dtype)
        return out, lse if problem.lse else None


def _tiles(problem: Problem) -> tuple[Tensor, Tensor]:
    written_out = bool(
        problem.softcap is not None
        or beyond_adding(problem)
        or (problem.lse and wants_gradient(problem))
    )
    context, q_tile = problem.context, _Q_TILE
    if written_out:
        q_tile = _SCORES // max(1, problem.q.shape[0] * context.heads * context.keys)
        q_tile = min(_Q_TILE, max(16, q_tile // 16 * 16))
    plan = tile_plan(problem.pattern, context, q_tile, _K_TILE)
    problem = reordered(problem, plan.order)
    found = [_attend(problem, of_tile(plan, tile), written_out) for tile in range(plan.q_tiles)]
    if not found:
        empty = problem.q.new_zeros(*problem.q.shape[:3], problem.v.shape[-1])
        return empty, empty.new_zeros(empty.shape[:3], dtype=wide_type(empty.dtype))
    out, lse = (torch.cat(list(some), 2) for some in zip(*found, strict=True))
    return put_back(out, plan.order), put_back(lse, plan.order)


def _attend(problem: Problem, chosen: Selection, written_out: bool) -> tuple[Tensor, Tensor]:
    """One tile: outputs ``[B, H, r, e]`` and log-sum-exps, which are made up if nobody asked."""
    rows = chosen.rows
    q = problem.q[:, :, rows]
    if not chosen.count:
        out = q.new_zeros(*q.shape[:3], problem.v.shape[-1])
        return out, q.new_full(q.shape[:3], -torch.inf, dtype=wide_type(q.dtype))
    k, v = chosen.of_keys(problem.k), chosen.of_keys(problem.v)
    terms, wide = [], wide_type(q.dtype)
    for term in problem.edits.terms:
        product = chosen.of_heads(term.keys.to(wide), problem.context.heads)[:, :, None]
        if term.rows is not None:
            product = product * term.rows[:, :, rows, None].to(wide)
        terms.append((term.kind, product))
    allowed = chosen.allowed(problem.context.heads, q.device)
    if written_out:
        return explicit(
            q, k, v, scale=problem.scale, allowed=allowed, softcap=problem.softcap, terms=terms
        )
    mask = None
    if allowed is not None:
        mask = torch.zeros(allowed.shape, dtype=wide, device=q.device)
        mask.masked_fill_(~allowed, -torch.inf)
    for _, product in terms:
        mask = product if mask is None else mask + product
    out, lse = fused(q, k, v, scale=problem.scale, mask=mask, lse=problem.lse)
    return out, q.new_empty(q.shape[:3]) if lse is None else lse


BACKEND = _Gather()

"""The specification: attention written out, in float32 or float64, some queries at a time.

Every other backend is held against this one, run in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.edits import Term
from lmms_causal.kernels.patterns.tiles import allowed_block
from lmms_causal.kernels.rotation import wide_type

__all__ = ["BACKEND"]

_SCORES = 1 << 23  # in memory at a time


class _Reference:
    name = "reference"

    def missing(self) -> str | None:
        """Runs everywhere."""
        return None

    def verify(self, problem: Problem) -> str | None:
        """Serves everything."""
        return None

    def run(self, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Compute row by row; differentiable."""
        problem.pattern.check(problem.context)
        q = problem.q
        rows = max(1, _SCORES // max(1, q.shape[0] * q.shape[1] * problem.k.shape[2]))
        parts = [_rows(problem, slice(at, at + rows)) for at in range(0, q.shape[2], rows)]
        if not parts:
            empty = q.new_zeros(*q.shape[:3], problem.v.shape[-1])
            return empty, empty.new_zeros(q.shape[:3], dtype=wide_type(q.dtype))
        out = torch.cat([part[0] for part in parts], 2)
        return out, torch.cat([part[1] for part in parts], 2) if problem.lse else None


def _rows(problem: Problem, some: slice) -> tuple[Tensor, Tensor]:
    wide = wide_type(problem.q.dtype)
    q, k, v = problem.q[:, :, some].to(wide), problem.k.to(wide), problem.v.to(wide)
    heads, groups = q.shape[1], q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) * problem.scale
    if problem.softcap is not None:
        scores = problem.softcap * torch.tanh(scores / problem.softcap)
    terms = problem.edits.terms
    for term in terms:
        if term.kind == "add":
            scores = scores + _product(term, some, wide)
        elif term.kind == "gain":
            scores = scores + _product(term, some, wide) * scores.abs()
    count = q.shape[2]
    allowed = allowed_block(problem.pattern, problem.context, some.start, count, q.device)
    allowed = allowed.repeat_interleave(heads // allowed.shape[0], 0)
    scores = scores.masked_fill(~allowed, -torch.inf)
    lse = scores.logsumexp(-1)
    closed = lse == -torch.inf
    weights = (scores - lse.masked_fill(closed, 0.0)[..., None]).exp()
    for term in terms:
        if term.kind == "weigh":
            weights = weights * (1 + _product(term, some, wide))
    out = weights @ v
    if problem.edits.head_scale is not None:
        out = out * problem.edits.head_scale.to(wide)[:, :, None, None]
    return out.to(problem.q.dtype), lse


def _product(term: Term, some: slice, wide: torch.dtype) -> Tensor:
    """``u_i w_j``, ``[B or 1, H or 1, r or 1, n]``."""
    product = term.keys.to(wide)[:, :, None]
    return product if term.rows is None else product * term.rows[:, :, some, None].to(wide)


BACKEND = _Reference()

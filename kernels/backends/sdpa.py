"""torch's own kernel: causal and full attention without a mask, others with one if it is small.

Additive edits ride along as further columns (``features.py``). A mask is a matrix of all queries
by all keys of which no tile is skipped, so patterns of more than a few hundred tokens are left to
others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmms_causal.kernels.backends.conditions import beyond_adding, infinite, wants_gradient
from lmms_causal.kernels.backends.features import columns, largest, with_features
from lmms_causal.kernels.backends.fused import fused, widened
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.partial import attend
from lmms_causal.kernels.patterns import Causal, Full
from lmms_causal.kernels.patterns.tiles import allowed_block
from lmms_causal.kernels.rotation import wide_type

__all__ = ["BACKEND"]

_MASK = 1 << 18  # numbers in a mask; beyond, gathering keys takes less time, as measured
_COLUMNS = 32


class _Sdpa:
    name = "sdpa"

    def missing(self) -> str | None:
        """Runs everywhere."""
        return None

    def verify(self, problem: Problem) -> str | None:
        """Refuse a soft cap, edits that are not sums, large masks."""
        if problem.softcap is not None:
            return "torch's kernel has no soft cap"
        other = beyond_adding(problem)
        if other:
            return f"torch's kernel can add to scores, not {other}"
        if problem.lse and wants_gradient(problem):
            return "its log-sum-exp has no gradient"
        if not isinstance(problem.pattern, (Causal, Full)):
            size = _mask_size(problem)
            if size > _MASK:
                return f"this pattern would take a mask of {size} numbers (at most {_MASK})"
            return None
        if isinstance(problem.pattern, Causal) and wants_gradient(problem) and _before(problem):
            return "causal attention with keys before the first query has no gradient in parts"
        if problem.edits.terms:
            if problem.scale <= 0:
                return f"a scale of {problem.scale:g} cannot carry edits"
            limit = largest(problem.q.dtype)
            if infinite(problem, limit):
                return f"edits beyond {limit:g} do not fit; close edges by a pattern"
            if columns(problem.edits, problem.q.dtype) > _COLUMNS:
                return f"{len(problem.edits.terms)} terms would widen keys too far"
        return None

    def run(self, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Compute without a mask where the pattern allows that."""
        if isinstance(problem.pattern, (Causal, Full)):
            out, lse = _unmasked(problem)
        else:
            out, lse = _masked(problem)
        if problem.edits.head_scale is not None:
            out = (out * problem.edits.head_scale[:, :, None, None]).to(out.dtype)
        return out, lse if problem.lse else None


def _before(problem: Problem) -> bool:
    """Whether queries in part see all keys of a stretch, which is then computed apart."""
    return problem.context.offset > 0 and problem.context.queries > 1


def _unmasked(problem: Problem) -> tuple[Tensor, Tensor | None]:
    context, scale, width = problem.context, problem.scale, problem.v.shape[-1]
    multiple = 1 if problem.q.device.type == "cpu" else 8
    q, k, v = with_features(problem.q, problem.k, problem.v, problem.edits, scale, multiple)
    q, k, v = widened(q, k, v)
    m, n = context.queries, context.keys
    causal = isinstance(problem.pattern, Causal)
    square = context.offset == 0 and m == n
    if m and n and not problem.lse and (square if causal else not problem.decoding):
        return fused(q, k, v, scale=scale, causal=causal)[0][..., :width], None
    if causal:
        # queries up to the last key; those behind it see all keys
        within = min(m, max(0, n - context.offset))
        seen = max(0, min(n, context.offset + within))
        some = (k[:, :, :seen], v[:, :, :seen])
        parts = [attend(q[:, :, :within], *some, scale=scale, causal=True)] if within else []
        if within < m or not parts:
            parts.append(attend(q[:, :, within:], k, v, scale=scale))
    else:
        parts = [attend(q, k, v, scale=scale)]
    out, lse = parts[0]
    if len(parts) > 1:
        out, lse = torch.cat([out, parts[1][0]], 2), torch.cat([lse, parts[1][1]], 2)
    return out[..., :width], lse


def _mask_size(problem: Problem) -> int:
    context = problem.context
    masks = problem.pattern.planes(context)
    if problem.edits.terms:
        masks = max(masks, problem.q.shape[0] * problem.q.shape[1])
    return masks * context.queries * context.keys


def _masked(problem: Problem) -> tuple[Tensor, Tensor | None]:
    context, q, k = problem.context, problem.q, problem.k
    wide = wide_type(q.dtype)
    allowed = allowed_block(problem.pattern, context, device=q.device)
    heads, planes = q.shape[1], allowed.shape[0]
    if planes > 1:
        allowed = allowed.repeat_interleave(heads // planes, 0)
    mask = torch.zeros(1, *allowed.shape, dtype=wide, device=q.device)
    mask = mask.masked_fill(~allowed, -torch.inf)
    for term in problem.edits.terms:
        product = term.keys.to(wide)[:, :, None]
        mask = mask + (product if term.rows is None else product * term.rows.to(wide)[..., None])
    if not context.queries or not context.keys:
        return attend(q, k, problem.v, scale=problem.scale)
    shared, groups = k.shape[1], heads // k.shape[1]
    if groups == 1 or not problem.decoding:
        return fused(q, k, problem.v, scale=problem.scale, mask=mask, lse=problem.lse)
    # heads that share keys become rows, and the keys are read once for them
    mask = mask.expand(-1, heads, -1, -1)
    mask = mask.reshape(len(mask), shared, groups * context.queries, context.keys)
    rows = q.reshape(q.shape[0], shared, groups * context.queries, q.shape[-1])
    out, lse = fused(rows, k, problem.v, scale=problem.scale, mask=mask, lse=problem.lse)
    shape = q.shape[:3]
    return out.reshape(*shape, -1), None if lse is None else lse.reshape(shape)


BACKEND = _Sdpa()

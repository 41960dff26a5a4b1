"""``attention``: any pattern and any edits, by the backend that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.backends.choice import Choice, choose
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.backends.registry import backend as backend_named
from lmms_causal.kernels.edits import NO_EDITS, Edits
from lmms_causal.kernels.patterns import AttentionPattern, Causal, Context, Region

__all__ = ["attention", "explain"]

_CAUSAL = Causal()


@overload
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    pattern: AttentionPattern = ...,
    edits: Edits = ...,
    scale: float | None = ...,
    offset: int | None = ...,
    regions: Sequence[Region] = ...,
    softcap: float | None = ...,
    return_lse: Literal[False] = ...,
    backend: str = ...,
) -> Tensor: ...


@overload
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    pattern: AttentionPattern = ...,
    edits: Edits = ...,
    scale: float | None = ...,
    offset: int | None = ...,
    regions: Sequence[Region] = ...,
    softcap: float | None = ...,
    return_lse: Literal[True],
    backend: str = ...,
) -> tuple[Tensor, Tensor]: ...


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    pattern: AttentionPattern = _CAUSAL,
    edits: Edits = NO_EDITS,
    scale: float | None = None,
    offset: int | None = None,
    regions: Sequence[Region] = (),
    softcap: float | None = None,
    return_lse: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Attend: ``softmax(scale q k^T over what the pattern allows) v``, with edits.

    Args:
        q: queries ``[B, H, m, d]``.
        k: keys ``[B, H_k, n, d]``; query head ``h`` uses key head ``h // (H / H_k)``.
        v: values ``[B, H_k, n, e]``.
        pattern: which keys a query may see; see :mod:`lmms_causal.kernels.patterns`.
        edits: of scores, weights and heads; see :mod:`lmms_causal.kernels.edits`.
        scale: factor of the scores; ``d ** -0.5`` by default.
        offset: position of the first query among the keys; by default the last query is at the
            last key.
        regions: where pictures and questions are, for patterns that ask.
        softcap: ``s -> softcap * tanh(s / softcap)`` on scaled scores, before edits.
        return_lse: whether to return the log-sum-exp of the scores too.
        backend: ``auto``, or the name of one in :mod:`lmms_causal.kernels.backends`.

    Returns:
        Outputs ``[B, H, m, e]`` of ``q``'s type, and if asked the log-sum-exp ``[B, H, m]`` in
        float32 (float64 for float64). A query that sees no key has output 0 and ``-inf``.

    Raises:
        UserError: shapes that do not fit; a backend that is not known, not here, or cannot serve
            this call; a pattern that this call cannot have.
    """
    problem = _problem(q, k, v, pattern, edits, scale, offset, regions, softcap, return_lse)
    if backend == "auto":
        chosen = choose(problem).backend
    else:
        chosen = backend_named(backend)
        reason = chosen.missing() or chosen.verify(problem)
        if reason:
            raise UserError(f"backend={backend}: {reason}; leave the choice to backend=auto")
    out, lse = chosen.run(problem)
    if not return_lse:
        return out
    assert lse is not None
    return out, lse


def explain(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    pattern: AttentionPattern = _CAUSAL,
    edits: Edits = NO_EDITS,
    offset: int | None = None,
    regions: Sequence[Region] = (),
    softcap: float | None = None,
    return_lse: bool = False,
) -> Choice:
    """Say which backend ``auto`` would take for a call, and why the others before it not."""
    return choose(_problem(q, k, v, pattern, edits, None, offset, regions, softcap, return_lse))


def _problem(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pattern: AttentionPattern,
    edits: Edits,
    scale: float | None,
    offset: int | None,
    regions: Sequence[Region],
    softcap: float | None,
    lse: bool,
) -> Problem:
    batch, heads, m, width = q.shape
    if k.shape[:3] != v.shape[:3] or k.shape[0] != batch or k.shape[3] != width:
        raise UserError(
            f"queries {list(q.shape)}, keys {list(k.shape)} and values {list(v.shape)} do not fit; "
            "they are [B, H, m, d], [B, H_k, n, d] and [B, H_k, n, e]"
        )
    if q.dtype != k.dtype or q.dtype != v.dtype:
        raise UserError(f"queries are {q.dtype}, keys {k.dtype}, values {v.dtype}; use one type")
    n = k.shape[2]
    offset = n - m if offset is None else offset
    context = Context(m, n, offset, heads, k.shape[1], tuple(regions))
    scale = width**-0.5 if scale is None else scale
    with torch.no_grad():
        pattern.check(context)
    return Problem(q, k, v, context, pattern, edits, scale, softcap, lse)

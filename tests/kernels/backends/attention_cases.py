"""What backends are tried on: patterns, shapes, edits, and tensors whose surroundings are NaN."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.edits import NO_EDITS, Edits, Term, bias, gain, scale
from lmms_causal.kernels.patterns import AttentionPattern, Causal, Context, Full, Region
from lmms_causal.kernels.patterns.registry import entries


@dataclass(frozen=True)
class Columns(AttentionPattern):
    """Every third key, another third for each query head; nothing is known of tiles."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j + h) % 3 == 0

    def planes(self, context: Context) -> int:
        return context.heads


@dataclass(frozen=True)
class Blocks(AttentionPattern):
    """The last block of 16, and others by key head."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        shared = h // (context.heads // context.kv_heads)
        near = (i // 16) == (j // 16)
        return (near | ((j // 16) % 5 == shared)) & (j <= i)

    def planes(self, context: Context) -> int:
        return context.kv_heads


@dataclass(frozen=True)
class Shuffled(AttentionPattern):
    """Positions that agree modulo 7, best taken together."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (i - j) % 7 == 0

    def order(self, context: Context) -> Tensor:
        return torch.arange(context.keys).remainder(7).argsort(stable=True)


@dataclass(frozen=True)
class Rows(AttentionPattern):
    """All keys for the queries of one stretch in four."""

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (i // 20 % 4 == 1) & (j >= 0)


SPECIAL: dict[str, AttentionPattern] = {
    "causal": Causal(),
    "full": Full(),
    "columns": Columns(),
    "blocks": Blocks(),
    "shuffled": Shuffled(),
    "causal-rows": Causal() - Rows(),
    "causal|rows": Causal() | Rows(),
    "blocks&columns": Blocks() & Columns(),
}


def patterns() -> dict[str, AttentionPattern]:
    """Those above, and an example of each in the registry."""
    from lmms_causal.kernels.patterns.spec import parse_pattern

    return SPECIAL | {one.example: parse_pattern(one.example) for one in entries()}


SIZES = {  # queries, keys, position of the first query
    "one": (1, 1, 0),
    "odd": (63, 63, 0),
    "square": (100, 100, 0),
    "step": (1, 100, 99),
    "steps": (5, 63, 58),
    "chunk": (40, 100, 60),
    "early": (100, 40, -60),
    "inside": (30, 100, 10),
    "late": (20, 30, 25),
    "after": (12, 30, 70),
}
HEADS = {"MHA": (4, 4), "GQA": (4, 2), "MQA": (4, 1)}


def context(m: int, n: int, offset: int, heads: int, shared: int) -> Context:
    """A call with a picture of 4 x 5 patches, a question, segments, documents, where they fit."""
    regions = (
        Region("image", 3, 23, (4, 5)),
        Region("question", 23, 29),
        Region("segment", 4, 11),
        Region("segment", 11, 26),
        Region("document", 0, 14),
        Region("document", 14, 28),
    )
    return Context(m, n, offset, heads, shared, regions if min(n, offset + m) > 29 else ())


def problem(
    where: Context,
    pattern: AttentionPattern,
    dtype: torch.dtype = torch.float32,
    *,
    edits: Edits = NO_EDITS,
    batch: int = 2,
    width: int = 16,
    value_width: int | None = None,
    softcap: float | None = None,
    lse: bool = True,
) -> Problem:
    """A problem on random numbers, laid out as transformers does: heads interleaved in queries, and
    keys and values the beginning of a longer cache, which holds NaN behind them."""
    draw = torch.Generator().manual_seed(1000 * where.queries + where.keys)
    m, n, value_width = where.queries, where.keys, value_width or width

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)

    def cached(size: int) -> Tensor:
        cache = torch.full((batch, where.kv_heads, n + 9, size), torch.nan, dtype=dtype)
        cache[:, :, :n] = normal(batch, where.kv_heads, n, size)
        return cache[:, :, :n]

    q = normal(batch, m, where.heads, width).transpose(1, 2) * 1.5
    k, v = cached(width), cached(value_width)
    return Problem(q, k, v, where, pattern, edits, width**-0.5, softcap, lse)


def edits(where: Context, batch: int) -> dict[str, Edits]:
    """Edits of every kind."""
    m, n, heads = where.queries, where.keys, where.heads
    draw = torch.Generator().manual_seed(5)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=draw)

    some = (uniform(1, 1, n) < 0.4).float()
    those = (uniform(1, 1, m) < 0.5).float()
    by_head = (uniform(1, heads, n) < 0.3).float()
    return {
        "bias": Edits((bias(0.7, some),)),
        "bias of rows": Edits((bias(-1.3, some, those),)),
        "bias by head": Edits((bias(1.1, by_head),)),
        "product": Edits((Term("add", uniform(batch, heads, n), uniform(batch, 1, m)),)),
        "knock-out": Edits((bias(-1e4, some, those),)),
        "all knocked out": Edits((bias(-1e4, torch.ones(1, 1, n)),)),
        "infinite": Edits((Term("add", torch.zeros(1, 1, n).masked_fill(some > 0, -torch.inf)),)),
        "factor": Edits((scale(2.5, some, those), scale(0.5, by_head))),
        "gain": Edits((gain(0.5, some, those),)),
        "gain and bias": Edits((gain(0.3, by_head), bias(0.4, some))),
        "weigh": Edits((scale(0.0, some, those, renormalise=False),)),
        "weigh by head": Edits((scale(1.7, by_head, renormalise=False),)),
        "heads": Edits(head_scale=uniform(1, heads)),
        "everything": Edits(
            (
                bias(0.9, by_head),
                gain(0.2, some, those),
                scale(0.2, some, renormalise=False),
                bias(-1e4, some, those),
            ),
            uniform(batch, heads),
        ),
    }


def eager(problem: Problem) -> Tensor:
    """Attention as models write it, in the type of the queries: what an error is measured by."""
    q, heads = problem.q, problem.q.shape[1]
    groups = heads // problem.k.shape[1]
    k, v = (x.repeat_interleave(groups, 1) for x in (problem.k, problem.v))
    where = problem.context
    h = torch.arange(heads)[:, None, None]
    i = torch.arange(where.queries)[:, None] + where.offset
    allowed = problem.pattern.allowed(where, h, i, torch.arange(where.keys))
    scores = q @ k.transpose(-1, -2) * problem.scale
    if problem.softcap is not None:
        scores = problem.softcap * torch.tanh(scores / problem.softcap)
    weights = []
    for term in problem.edits.terms:
        rows = torch.ones(1, 1, where.queries) if term.rows is None else term.rows
        product = (rows[..., None] * term.keys[:, :, None]).to(q.dtype)
        if term.kind == "weigh":
            weights.append(1 + product)
        else:
            scores = scores + (product if term.kind == "add" else product * scores.abs())
    scores = scores.masked_fill(~allowed, -torch.inf)
    shares = scores.softmax(-1, dtype=torch.promote_types(q.dtype, torch.float32)).nan_to_num(0)
    shares = shares.to(q.dtype)
    for factor in weights:
        shares = shares * factor
    out = shares @ v
    scale_of_heads = problem.edits.head_scale
    return out if scale_of_heads is None else out * scale_of_heads.to(q.dtype)[:, :, None, None]

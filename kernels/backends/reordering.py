"""A problem with its tokens in the order in which a plan takes them, and results put back."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.edits import Edits, Term

__all__ = ["put_back", "reordered"]


def reordered(problem: Problem, order: Tensor | None) -> Problem:
    """The problem with queries, keys, values and terms of edits in another order.

    Its pattern and context stay as they were: they are about the plain order and not asked again.

    Args:
        problem: the problem.
        order: positions, int64 ``[n]``, or None for no change.
    """
    if order is None:
        return problem
    order = order.to(problem.q.device)

    def taken(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.index_select(2, order)

    terms = []
    for term in problem.edits.terms:
        keys = taken(term.keys)
        assert keys is not None
        terms.append(Term(term.kind, keys, taken(term.rows)))
    q, k, v = (x.index_select(2, order) for x in (problem.q, problem.k, problem.v))
    return replace(problem, q=q, k=k, v=v, edits=Edits(tuple(terms), problem.edits.head_scale))


def put_back(x: Tensor, order: Tensor | None) -> Tensor:
    """Results ``[B, H, m, ...]`` of a reordered problem in the plain order."""
    return x if order is None else x.index_select(2, order.argsort().to(x.device))

"""What backends ask of a problem before they take it on."""

from __future__ import annotations

import torch

from lmms_causal.kernels.backends.problem import Problem

__all__ = ["beyond_adding", "infinite", "wants_gradient"]


def wants_gradient(problem: Problem) -> bool:
    """Whether somebody may go backwards through the result."""
    if not torch.is_grad_enabled():
        return False
    tensors = [problem.q, problem.k, problem.v, problem.edits.head_scale]
    for term in problem.edits.terms:
        tensors += [term.keys, term.rows]
    return any(x is not None and x.requires_grad for x in tensors)


def beyond_adding(problem: Problem) -> str | None:
    """What edits do beyond adding to scores, or None: the kinds of terms that are not ``add``."""
    kinds = sorted({term.kind for term in problem.edits.terms} - {"add"})
    return " and ".join(kinds) or None


def infinite(problem: Problem, limit: float) -> bool:
    """Whether a term holds numbers beyond ``limit``, infinities included, as -inf for a closed key.

    Looks at vectors, not at matrices.
    """
    return any(
        bool((term.keys.detach().abs() > limit).any())
        for term in problem.edits.terms
        if term.keys.numel()
    )

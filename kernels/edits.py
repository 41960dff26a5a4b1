"""Edits that run inside a kernel: products of a function of the query and one of the key.

With ``s`` the scaled scores and ``p`` the weights of softmax over what a pattern allows, terms are
applied in the order of their list, scores before weights:

    add      s' = s + u_i w_j
    gain     s' = s + u_i w_j |s|
    weigh    o_i = sum_j (1 + u_i w_j) p_ij v_j         the weights no longer sum to 1

and the output of a head is multiplied by its ``head_scale``. A factor on weights whose rows sum to
1 again is an ``add`` of its logarithm. Edges are opened and closed by patterns (``pattern | more``,
``pattern - less``), so that tiles nobody may see are not computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lmms_causal.errors import UserError

__all__ = ["NO_EDITS", "Edits", "Term", "bias", "gain", "scale"]


@dataclass(frozen=True, eq=False)
class Term:
    """One product.

    Attributes:
        kind: what it does.
        keys: ``w``, float32 ``[B or 1, H or 1, n]``.
        rows: ``u``, float32 ``[B or 1, H or 1, m]``, or None for 1.
    """

    kind: Literal["add", "gain", "weigh"]
    keys: Tensor
    rows: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Edits:
    """What is done to one call.

    Attributes:
        terms: in order.
        head_scale: float32 ``[B or 1, H]``, or None.
    """

    terms: tuple[Term, ...] = ()
    head_scale: Tensor | None = None

    def __bool__(self) -> bool:
        return bool(self.terms) or self.head_scale is not None

    def of_rows(self, rows: slice) -> Edits:
        """The edits of some rows of the batch."""

        def part(x: Tensor | None) -> Tensor | None:
            return x if x is None or x.shape[0] == 1 else x[rows]

        terms = []
        for term in self.terms:
            keys = part(term.keys)
            assert keys is not None
            terms.append(Term(term.kind, keys, part(term.rows)))
        return Edits(tuple(terms), part(self.head_scale))


NO_EDITS = Edits()


def bias(amount: float, keys: Tensor, rows: Tensor | None = None) -> Term:
    """Add to the scores where ``keys`` (and ``rows``) are 1, which are 0 elsewhere."""
    return Term("add", keys.float() * amount, None if rows is None else rows.float())


def gain(alpha: float, keys: Tensor, rows: Tensor | None = None) -> Term:
    """``s + alpha |s|`` where ``keys`` (and ``rows``) are 1."""
    return Term("gain", keys.float() * alpha, None if rows is None else rows.float())


def scale(
    factor: float, keys: Tensor, rows: Tensor | None = None, renormalise: bool = True
) -> Term:
    """Multiply weights where ``keys`` (and ``rows``) are 1; rows sum to 1 again if asked.

    Raises:
        UserError: a factor that is not positive, with rows that are to sum to 1: close the edges
            by a pattern instead.
    """
    if not renormalise:
        return Term("weigh", keys.float() * (factor - 1), None if rows is None else rows.float())
    if factor <= 0:
        raise UserError(
            f"a factor of {factor:g} with rows that sum to 1 again: close these edges by a pattern"
        )
    return bias(math.log(factor), keys, rows)

"""Attention sinks: tokens that get much attention from all that may see them.

The mean over queries is of :class:`~lmms_causal.kernels.column_statistics.ColumnMeans`; the rule is
that of ACT (arXiv 2406.15765).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmms_causal.errors import UserError

__all__ = ["sinks", "strongest"]


def sinks(
    means: Tensor,
    threshold: float | None = 0.1,
    over_length: float | None = None,
    *,
    first: int = 0,
    parity: bool = False,
) -> Tensor:
    """Return which keys are sinks, bool ``[..., n]``.

    Args:
        means: what each key gets from the queries that may see it, ``[..., n]``; NaN for keys that
            none may see.
        threshold: a sink gets more than that; 0.1 in the released code for multiple choice.
        over_length: instead, a sink gets more than this over the number of keys from ``first`` on
            (5 in ports of the paper's form).
        first: the first real token, which is never counted as a sink.
        parity: do as the released code does: drop the first sink that is found, whichever it is.

    Raises:
        UserError: both thresholds are given, or none.
    """
    if over_length is not None and threshold is None:
        bound = over_length / (means.shape[-1] - first)
    elif threshold is not None and over_length is None:
        bound = threshold
    else:
        raise UserError("sinks need threshold or over_length, and not both")
    found = means > bound  # False for NaN
    if parity:
        return found & (found.long().cumsum(dim=-1) > 1)
    found[..., : first + 1] = False
    return found


def strongest(means: Tensor, count: int) -> list[tuple[int, float]]:
    """Return the keys that get most, ``(column, mean)``, from means ``[n]``, NaN left out."""
    ranked = means.nan_to_num(-torch.inf).sort(descending=True, stable=True)
    pairs = zip(ranked.indices.tolist(), ranked.values.tolist(), strict=True)
    return [(column, value) for column, value in pairs if value > -torch.inf][:count]

"""Local and global heads, and the rhythm of a text that they show (arXiv 2510.13554, section 4).

Spans, windowed distances and future influence come a head at a time from
:class:`~lmms_causal.kernels.statistics.Distances` and
:class:`~lmms_causal.kernels.column_statistics.FutureInfluence`. Averages of heads' attention have
the averages of these, because all of them are linear in the weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lmms_causal.errors import UserError

__all__ = ["CoOccurrence", "average", "co_occurrence", "local_and_global", "peaks"]

SHARE = 0.3


def local_and_global(spans: Tensor, share: float = SHARE) -> tuple[Tensor, Tensor]:
    """Return the heads of shortest and of longest span, bool ``[L, H]`` each.

    Args:
        spans: mean distance of each head, in tokens, ``[L, H]``.
        share: of all heads in either, at most one half; at least one head.
    """
    if not 0 < share <= 0.5:
        raise UserError(f"share={share} of heads that are local, or global, must be in (0, 0.5]")
    order = spans.flatten().argsort(stable=True)
    count = max(1, int(share * len(order)))
    chosen = []
    for indices in (order[:count], order[-count:]):
        heads = torch.zeros(spans.numel(), dtype=torch.bool, device=spans.device)
        heads[indices] = True
        chosen.append(heads.view_as(spans))
    return chosen[0], chosen[1]


def average(values: Tensor, heads: Tensor) -> Tensor:
    """Return the mean over chosen heads, ``[T]``.

    Args:
        values: of each head, ``[L, H, T]``.
        heads: the chosen ones, bool ``[L, H]``.
    """
    return values[heads].mean(dim=0)


def peaks(series: Tensor, quantile: float = 0.8) -> list[int]:
    """Return the places of local maxima that are high for their series.

    The paper gives no rule that we know of; this one is ours: greater than the value before, not
    less than the one behind, and at the quantile of the series or above. NaN is never a peak.

    Args:
        series: ``[T]``.
        quantile: of the known values, in 0..1.
    """
    known = series[~series.isnan()]
    if not len(known):
        return []
    bound = known.double().quantile(quantile).to(series.dtype)
    low = series.new_full((1,), -torch.inf)
    values = torch.cat([low, series.nan_to_num(-torch.inf), low])
    inner = values[1:-1]
    found = (inner > values[:-2]) & (inner >= values[2:]) & (inner >= bound)
    places: list[int] = found.nonzero()[:, 0].tolist()
    return places


class CoOccurrence(NamedTuple):
    """How often peaks of one series have peaks of another close by.

    Attributes:
        observed: share of the first series' peaks with one of the second within the distance.
        expected: the same share of all places, which is what chance would give.
    """

    observed: float
    expected: float


def co_occurrence(
    first: list[int], second: list[int], length: int, *, before: int = 1, behind: int = 1
) -> CoOccurrence:
    """Return how often a peak of the second series is close to one of the first.

    Args:
        first, second: places of peaks.
        length: of both series.
        before, behind: how far before and behind a peak of the first one of the second may be.
    """
    near = {peak + shift for peak in second for shift in range(-behind, before + 1)}
    near &= set(range(length))
    observed = sum(peak in near for peak in first) / len(first) if first else float("nan")
    return CoOccurrence(observed, len(near) / length if length else float("nan"))

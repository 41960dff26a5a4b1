"""Pure functions on logits ``[..., V]`` that the contrastive decoding family shares. Float32."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["SCORING_FLOOR", "contrast", "keep_plausible", "plausible"]

SCORING_FLOOR = 20.0
"""Nats between the least plausible kept token and the best excluded one when scoring."""


def contrast(factual: Tensor, counterfactual: Tensor, alpha: float) -> Tensor:
    """Return ``(1 + alpha) * factual - alpha * counterfactual``, all ``[..., V]``.

    As in VCD, arXiv 2311.16922, after contrastive decoding (Li et al. 2023).
    """
    return (1 + alpha) * factual - alpha * counterfactual


def plausible(factual: Tensor, beta: float) -> Tensor:
    """Return the mask ``[..., V]`` of tokens with ``p >= beta * max p`` under the factual logits.

    The adaptive plausibility constraint of VCD. Computed as
    ``logit >= max logit + ln beta``, the same set without a softmax. ``beta = 0`` keeps all.
    """
    if beta == 0:
        return torch.ones_like(factual, dtype=torch.bool)
    return factual >= factual.amax(dim=-1, keepdim=True) + math.log(beta)


def keep_plausible(combined: Tensor, factual: Tensor, beta: float, *, scoring: bool) -> Tensor:
    """Exclude what is implausible under the factual logits from ``combined``; all ``[..., V]``.

    When decoding, excluded tokens get ``-inf`` as published. When scoring they must stay
    comparable: they are placed below every kept token, the best of them :data:`SCORING_FLOOR` nats
    under the worst kept one, in the order of the factual logits. This choice is ours; the papers
    only decode.
    """
    if beta == 0:
        return combined
    kept = plausible(factual, beta)
    if not scoring:
        return combined.masked_fill(~kept, -math.inf)
    worst_kept = combined.masked_fill(~kept, math.inf).amin(dim=-1, keepdim=True)
    below = factual - factual.masked_fill(kept, -math.inf).amax(dim=-1, keepdim=True)
    return torch.where(kept, combined, worst_kept - SCORING_FLOOR + below)

"""Pure functions on logits ``[..., V]`` that the decoding family shares. Float32."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["SCORING_FLOOR", "contrast", "keep", "plausible", "randomised"]

SCORING_FLOOR = 20.0
"""Nats between the least plausible kept token and the best excluded one when scoring."""


def contrast(factual: Tensor, counterfactual: Tensor, strength: float | Tensor) -> Tensor:
    """Return ``strength * (factual - counterfactual)``, all ``[..., V]``.

    Added to the factual logits it gives ``(1 + a) l - a c``, as in VCD, arXiv 2311.16922, after
    contrastive decoding (Li et al. 2023).
    """
    return strength * (factual - counterfactual)


def plausible(factual: Tensor, beta: float) -> Tensor:
    """Return the mask ``[..., V]`` of tokens with ``p >= beta * max p`` under the factual logits.

    The adaptive plausibility constraint of VCD. Computed as
    ``logit >= max logit + ln beta``, the same set without a softmax. ``beta = 0`` keeps all.
    """
    if beta == 0:
        return torch.ones_like(factual, dtype=torch.bool)
    return factual >= factual.amax(dim=-1, keepdim=True) + math.log(beta)


def keep(combined: Tensor, kept: Tensor, factual: Tensor, *, scoring: bool) -> Tensor:
    """Exclude from ``combined`` what is not ``kept``; all ``[..., V]``.

    When decoding, excluded tokens get ``-inf`` as published. When scoring they must stay
    comparable: they are placed below every kept token, the best of them :data:`SCORING_FLOOR` nats
    under the worst kept one, in the order of the factual logits. This choice is ours; the papers
    only decode.
    """
    if not scoring:
        return combined.masked_fill(~kept, -math.inf)
    worst_kept = combined.masked_fill(~kept, math.inf).amin(dim=-1, keepdim=True)
    below = factual - factual.masked_fill(kept, -math.inf).amax(dim=-1, keepdim=True)
    return torch.where(kept, combined, worst_kept - SCORING_FLOOR + below)


def randomised(increment: Tensor, kept: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Return a random increment of the same norm, ``[B, K, V]``.

    Norm and draw are those of the part that matters: over kept tokens, about their mean, because a
    constant changes no probability. One direction a row, shared by its positions: the answers that
    are scored for a document meet the same control.

    Args:
        increment: ``[B, K, V]``.
        kept: ``[B, K, V]``, bool.
        generators: one a row, on the CPU.
    """
    directions = torch.stack(
        [torch.randn(increment.shape[-1], generator=generator) for generator in generators]
    ).to(increment)[:, None]
    weight = kept.to(increment.dtype)
    count = weight.sum(dim=-1, keepdim=True)

    def centred(values: Tensor) -> Tensor:
        values = values * weight
        return (values - values.sum(dim=-1, keepdim=True) / count) * weight

    aimed, random = centred(increment), centred(directions.expand_as(increment))
    length = random.norm(dim=-1, keepdim=True)
    scale = torch.where(length > 0, aimed.norm(dim=-1, keepdim=True) / length, 0.0)
    return random * scale

"""Attention weights that a model does not have: random, uniform, reversed or shuffled ones.

Rows that sum to 1 again (:func:`replaced`), and the forms of CausalMM's released code (arXiv
2410.04780), in which they do not.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.edits.draws import permuted, shuffled, uniform
from lmms_causal.interventions.edits.vision import patches_per_side

__all__ = ["Kind", "released_factors", "released_rows", "replaced"]

Kind = Literal["random", "uniform", "reversed", "shuffled"]

_LEAST_SUM = 1e-12
"""Below it an edited row is taken to be empty."""


def replaced(kind: Kind, weights: Tensor, allowed: Tensor, where: Coordinates, seed: int) -> Tensor:
    """Return counterfactual weights whose rows sum to 1, all ``[R, H, q, n]``.

    A row stays as it is if nothing is left of it, as when a row of one position is reversed.

    Args:
        kind: what replaces the weights.
        weights: the factual weights, 0 where not allowed.
        allowed: ``[R, 1 or H, q, n]``, bool.
        where: where the weights are.
        seed: of the draws.
    """
    if kind == "uniform":
        edited = allowed.to(weights.dtype).expand_as(weights)
    elif kind == "reversed":
        edited = (weights.amax(dim=-1, keepdim=True) - weights) * allowed
    elif kind == "random":
        edited = uniform(where, weights.shape[1], seed) * allowed
    else:
        edited = shuffled(weights, allowed, where, seed)
    total = edited.sum(dim=-1, keepdim=True)
    return torch.where(total > _LEAST_SUM, edited / total.clamp(min=_LEAST_SUM), weights)


def released_rows(
    kind: Kind, weights: Tensor, allowed: Tensor, where: Coordinates, seed: int
) -> Tensor:
    """Return the decoder weights of the release; arguments as of :func:`replaced`.

    Rows do not sum to 1. Padding, which the release counts among the tokens, is left out.
    """
    real = (where.keys >= 0)[:, None, None]
    if kind == "uniform":
        edited = real.to(weights.dtype) / real.sum(dim=-1, keepdim=True)
    elif kind == "reversed":
        edited = weights.amax(dim=-1, keepdim=True) - weights
    elif kind == "random":
        draws = uniform(where, weights.shape[1], seed) * real
        edited = draws / draws.sum(dim=-1, keepdim=True)
    else:
        raise ValueError("the release has no shuffled weights in the decoder")
    return edited * allowed


def released_factors(kind: Kind, weights: Tensor, where: Coordinates, seed: int) -> Tensor:
    """Return what the release multiplies each patch's features by, ``[R, P]``.

    Args:
        kind: how the maps are edited.
        weights: attention maps ``[R, H, T, T]``, class token included.
        where: where the weights are.
        seed: of the draws.
    """
    maps = weights.flatten(2)
    if kind == "uniform":
        edited = maps.mean(dim=-1, keepdim=True).expand_as(maps)
    elif kind == "reversed":
        edited = maps.amax(dim=-1, keepdim=True) - maps
    elif kind == "random":
        edited = 2 * uniform(where, weights.shape[1], seed).flatten(2).expand_as(maps)
    else:
        numbers = uniform(where, weights.shape[1], seed).flatten(2).expand_as(maps)
        edited = permuted(maps, torch.ones_like(maps, dtype=torch.bool), numbers)
    side = patches_per_side(weights.shape[-1])
    picture = edited.reshape(weights.shape)
    small = interpolate(picture, size=(side, side), mode="bilinear", align_corners=False)
    return small.mean(dim=1).flatten(1)

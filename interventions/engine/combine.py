"""From the signals of all passes to the logits that are decoded or scored: a sum of increments."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lmms_causal.interventions.edits.logits import keep, plausible, randomised
from lmms_causal.interventions.plan import Plan, Signals

__all__ = ["combined"]


def combined(
    plan: Plan,
    signals: Signals,
    applies: Mapping[str, Tensor],
    with_image: Tensor | None = None,
) -> Tensor:
    """Return ``(l + sum of increments) / temperature`` on the allowed tokens, ``[B, K, V]``.

    An increment acts where all branches it reads apply, and on rows with an image if it is for
    those; elsewhere its method is absent, its restriction of tokens included.

    Args:
        plan: the composed plan.
        signals: logits of all passes.
        applies: for each branch where it applies, ``[B, K]`` bool.
        with_image: which rows have an image, ``[B]`` bool; None for all.
    """
    factual = signals.factual
    total: Tensor | None = None
    kept: Tensor | None = None
    for increment in plan.increments:
        where = _everywhere(increment.branches, applies)
        if increment.without_image is not None and with_image is not None and not with_image.all():
            shown = with_image[:, None].expand(factual.shape[:2])
            where = shown if where is None else where & shown
        if increment.function is not None:
            added = increment.function(signals)
            if where is not None:
                added = torch.where(where[..., None], added, 0.0)
            total = added if total is None else total + added
        if increment.beta:
            allowed = plausible(factual, increment.beta)
            if where is not None:
                allowed = allowed | ~where[..., None]
            kept = allowed if kept is None else kept & allowed
    if total is not None and plan.control is not None:
        generators = [
            torch.Generator().manual_seed((seed ^ (plan.control.seed * 0x9E3779B1)) % 2**63)
            for seed in signals.seeds
        ]
        allowed = torch.ones_like(factual, dtype=torch.bool) if kept is None else kept
        total = randomised(total, allowed, generators)
    result = factual if total is None else factual + total
    if plan.temperature is not None:
        result = result / plan.temperature
    if kept is not None and not kept.all():
        result = keep(result, kept, factual, scoring=signals.scoring)
    return result


def _everywhere(names: tuple[str, ...], applies: Mapping[str, Tensor]) -> Tensor | None:
    """Where all named branches apply, ``[B, K]``; None for everywhere."""
    where: Tensor | None = None
    for name in names:
        if not applies[name].all():
            where = applies[name] if where is None else where & applies[name]
    return where

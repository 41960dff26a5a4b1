"""From the logits of a pass's branches to the logits that are decoded or scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.engine.combine import combined
from lmms_causal.interventions.engine.positions import applies, last
from lmms_causal.interventions.plan import Plan, Signals

__all__ = ["Shown", "decoded"]


@dataclass(frozen=True)
class Shown:
    """Which positions of a pass count, and of what prompts.

    Attributes:
        step: the answer token ``[K]`` that each position predicts; None if unknown.
        count: ``K``, how many of the last positions count.
        with_image: which rows have a picture, ``[B]`` bool.
        seeds: a number a row.
        scoring: whether log-likelihoods are computed.
    """

    step: Tensor | None
    count: int
    with_image: Tensor
    seeds: tuple[int, ...]
    scoring: bool


def decoded(
    plan: Plan,
    adapter: ModelAdapter,
    whole: Tensor,
    hidden: Mapping[int, Tensor],
    logits: Mapping[str, Tensor],
    shared: Mapping[str, Tensor | None],
    shown: Shown,
) -> Tensor | None:
    """Return the combined logits, or None where the factual ones stay as they are.

    Args:
        plan: says how.
        adapter: the model.
        whole: factual logits ``[B, L, V]``.
        hidden: layer outputs ``[B, L, D]`` that increments read.
        logits: logits ``[B, L', V]`` of the branches that were run.
        shared: for branches with other tokens, how many last positions ``[B]`` are in step.
        shown: which positions count.
    """
    count, step = shown.count, shown.step
    factual = last(whole, count).float()
    where = {
        branch.name: applies(branch, shown.with_image, count, shared.get(branch.name))
        for branch in plan.branches
    }
    values = dict.fromkeys(where, factual)
    for branch in plan.branches:
        if branch.name not in logits:
            continue
        own = where[branch.name]
        if branch.first_token_only and step is not None:
            own = own & (step == 0)
        found = last(logits[branch.name].float(), count)
        values[branch.name] = torch.where(own[..., None], found, factual)
    signals = Signals(
        factual=factual,
        branches=values,
        step=step,
        depth=adapter.depth,
        early=lambda layer, normal: adapter.read(last(hidden[layer], count), normal),
        seeds=shown.seeds,
        scoring=shown.scoring,
        tied=adapter.tied,
    )
    result = combined(plan, signals, where, shown.with_image)
    if result is factual:
        return None
    if count < whole.shape[1] and shown.scoring:
        result = torch.cat([whole[:, : whole.shape[1] - count].float(), result], dim=1)
    return result

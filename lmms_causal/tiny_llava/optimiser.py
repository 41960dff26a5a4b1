"""AdamW with warm-up and cosine decay, as all three training stages use it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn


class Optimiser:
    """AdamW whose learning rate warms up linearly and falls to ``floor`` along a cosine.

    Weight decay applies to matrices only. `step` clips the gradient norm to 1, updates the
    parameters and clears the gradients.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        rate: float,
        steps: int,
        decay: float = 0.0,
        warmup: int = 0,
        floor: float = 0.05,
    ) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._adam = torch.optim.AdamW(
            [
                {"params": [p for p in self._parameters if p.ndim >= 2], "weight_decay": decay},
                {"params": [p for p in self._parameters if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=rate,
            betas=(0.9, 0.98),
        )

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = (step - warmup) / max(1, steps - warmup)
            return floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._adam, factor)

    def step(self, loss: torch.Tensor) -> None:
        """One update from this scalar loss."""
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._adam.step()
        self._schedule.step()
        self._adam.zero_grad(set_to_none=True)

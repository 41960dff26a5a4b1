"""Mutual-information decoding: the longer the answer, the stronger the contrast with no picture.

Favero et al., "Multi-Modal Hallucination Control by Visual Information Grounding" (M3ID), CVPR
2024, arXiv 2403.14003; no code by the authors. ``variant=only`` follows the re-implementation in
zifuwan/ONLY.

Equations
---------
A second branch sees the same words without the picture. With ``l`` and ``u`` the log-probabilities
with and without the picture and ``t`` the number of answer tokens before this one::

    l + [max l < ln alpha] w_t (l - u)      w_t = exp(decay (t + t0)) - 1

The picture is taken to be forgotten as ``g_t = exp(-decay (t + t0))``, and ``w_t`` is
``(1 - g_t) / g_t``. Where the best token has probability ``alpha`` or more, nothing is changed;
nor is the first token with ``t0 = 0``. So with the defaults a confident one-word answer stays as
it is: for such benchmarks raise ``t0``, and ``alpha`` up to 1.

Cost
----
Two passes a token; the second branch has a shorter prompt and encodes no picture.

Paper and code
--------------
``variant=paper`` is the formula above. ``variant=only`` is the flavour that later comparisons run
under this name: no gate, and the cutoff ``p >= beta max p`` of VCD instead. The formula and the
defaults of the paper are known from two readers' notes that agree, not from its text. The weight
grows without bound, beyond what float32 holds; ``max_weight`` is ours.

Published
---------
LLaVA-13B (abstract): 25 per cent fewer hallucinated objects in captions; POPE accuracy 21 per cent
up, not said whether relative or absolute. Captions with ``t0 = 0``, POPE with ``t0 = 10``, greedy
(both from the notes).

Unverified
----------
The ``alpha`` and ``t0`` behind the POPE table, and the tables themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.branches import TEXT_ONLY, text_only
from lmms_causal.interventions.edits.logits import contrast
from lmms_causal.interventions.plan import Increment, Plan, Signals, WithoutImage
from lmms_causal.interventions.ranges import check_not_negative, check_share
from lmms_causal.interventions.registry import method

__all__ = ["M3ID"]


@method
@dataclass(frozen=True)
class M3ID:
    """Parameters of mutual-information decoding.

    Attributes:
        decay: ``lambda``, how fast the picture is forgotten; 0 turns the contrast off.
        alpha: probability in [0, 1] of the best token from which a step is left alone; 0 leaves
            every step alone. Not read by ``variant=only``.
        t0: tokens by which the count of the answer's tokens is ahead.
        max_weight: upper limit of ``w_t``.
        beta: plausibility threshold in [0, 1] of ``variant=only``; the paper has none.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them.
        variant: ``paper``, or ``only``: a cutoff in place of the gate.
    """

    decay: float = 0.02
    alpha: float = 0.3
    t0: int = 0
    max_weight: float = 1e6
    beta: float = 0.1
    without_image: WithoutImage = "refuse"
    variant: Literal["paper", "only"] = "paper"

    def __post_init__(self) -> None:
        check_not_negative(self, "decay", "max_weight")
        if self.t0 < 0:
            raise UserError(f"intervention m3id: t0={self.t0} must be 0 or more")
        check_share(self, "alpha", "beta")

    def plan(self) -> Plan:
        """The text-only branch and the growing contrast; nothing if neither part has an effect."""
        gated = self.variant == "paper"
        beta = 0.0 if gated else self.beta
        if self.decay == 0 or self.max_weight == 0 or (gated and self.alpha == 0):
            return Plan(increments=(Increment("m3id", beta=beta),)) if beta else Plan()
        increment = Increment(
            "m3id", self.increment, branches=(TEXT_ONLY,), beta=beta, counts_tokens=True
        )
        return Plan(branches=(text_only(self.without_image),), increments=(increment,))

    def increment(self, signals: Signals) -> Tensor:
        """``w_t (l - u)``, ``[B, K, V]``, zero where the gate is closed."""
        assert signals.step is not None  # the plan counts tokens
        with_picture = signals.factual.log_softmax(dim=-1)
        without = signals.branches[TEXT_ONLY].log_softmax(dim=-1)
        added = contrast(with_picture, without, self.weight(signals.step)[:, None])
        if self.variant == "only":
            return added
        unsure = with_picture.amax(dim=-1, keepdim=True) < math.log(self.alpha)
        return torch.where(unsure, added, 0.0)

    def weight(self, step: Tensor) -> Tensor:
        """``w_t`` ``[K]``, float32, of answer tokens ``[K]`` counted from 0."""
        exponent = self.decay * (step.float() + self.t0)
        return torch.expm1(exponent).clamp(max=self.max_weight)

"""Visual contrastive decoding: contrast the answer with the answer to a noised image.

Leng et al., "Mitigating Object Hallucinations in Large Vision-Language Models through Visual
Contrastive Decoding", CVPR 2024, arXiv 2311.16922; code DAMO-NLP-SG/VCD.

The counterfactual branch sees the same prompt with every picture diffused to step ``noise_step``.
With ``l`` the logits of the original and ``c`` those of the noised image, decoding uses

    (1 + alpha) * l - alpha * c

restricted to the tokens with ``p >= beta * max p`` under ``l``, the adaptive plausibility
constraint. Two passes per token.

Formulas and schedule are those of the released code. Before 16 July 2024 that code reused the
factual cache for the second branch after the first token, so that only first tokens were
contrasted; here every token is. The published scripts sample (temperature 1); ``alpha`` 1, ``beta``
0.1 (0.2 on POPE), ``noise_step`` 500. Greedy decoding gives higher baselines: compare like with
like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.logits import contrast, keep_plausible
from lmms_causal.interventions.media import content_generator, edit_pixels
from lmms_causal.interventions.plan import Branch, Combine, Plan, WithoutImage
from lmms_causal.interventions.registry import method

__all__ = ["VCD", "diffuse", "signal_fraction"]

STEPS = 1000


@method
@dataclass(frozen=True)
class VCD:
    """Parameters of visual contrastive decoding.

    Attributes:
        alpha: strength of the contrast; 0 turns it off.
        beta: plausibility threshold in [0, 1]; 0 keeps every token.
        noise_step: diffusion step in 0..999; the higher, the less of the image is left.
        seed: global seed of the noise, which otherwise depends on the picture only.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them.
    """

    alpha: float = 1.0
    beta: float = 0.1
    noise_step: int = 500
    seed: int = 0
    without_image: WithoutImage = "refuse"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < float("inf"):
            raise UserError(f"intervention vcd: alpha={self.alpha} must be 0 or more")
        if not 0 <= self.beta <= 1:
            raise UserError(f"intervention vcd: beta={self.beta} must lie in 0..1")
        if not 0 <= self.noise_step < STEPS:
            raise UserError(f"intervention vcd: noise_step={self.noise_step} must lie in 0..999")

    def plan(self) -> Plan:
        """One noised branch and the contrast with it; nothing if neither part has an effect."""
        if self.alpha == 0 and self.beta == 0:
            return Plan()
        combine = Combine("vcd", self.combine)
        if self.alpha == 0:  # the cutoff alone still changes what is sampled
            return Plan(combine=combine)
        return Plan(branches=(Branch("noised", self.noised, self.without_image),), combine=combine)

    def noised(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Diffuse every picture of the (already normalised) model inputs."""

        def edit(picture: Tensor) -> Tensor:
            generator = content_generator(picture, self.seed)
            noise = torch.randn(picture.shape, generator=generator).to(picture)
            return diffuse(picture, noise, self.noise_step)

        return edit_pixels(inputs, edit)

    def combine(self, factual: Tensor, branches: Mapping[str, Tensor], scoring: bool) -> Tensor:
        """Contrast, and cut off what is implausible; all ``[..., V]``."""
        combined = contrast(factual, branches["noised"], self.alpha) if self.alpha else factual
        return keep_plausible(combined, factual, self.beta, scoring=scoring)


@lru_cache(maxsize=1)
def signal_fraction() -> Tensor:
    """Return the cumulative product ``abar`` ``[1000]`` of the released schedule, float64."""
    ramp = torch.sigmoid(torch.linspace(-6, 6, STEPS, dtype=torch.float64))
    betas = ramp * (0.005 - 1e-5) + 1e-5
    return torch.cumprod(1 - betas, dim=0)


def diffuse(picture: Tensor, noise: Tensor, step: int) -> Tensor:
    """Return ``sqrt(abar) * picture + sqrt(1 - abar) * noise``; any shape, unclipped."""
    kept = signal_fraction()[step].item()
    return kept**0.5 * picture + (1 - kept) ** 0.5 * noise

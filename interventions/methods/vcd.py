"""Visual contrastive decoding: contrast the answer with the answer to a noised picture.

Leng et al., "Mitigating Object Hallucinations in Large Vision-Language Models through Visual
Contrastive Decoding", CVPR 2024, arXiv 2311.16922; code DAMO-NLP-SG/VCD.

Equations
---------
A second branch sees the same prompt with every picture diffused to step ``noise_step`` ``s``::

    x_s = sqrt(abar_s) x + sqrt(1 - abar_s) eps,   eps ~ N(0, 1),   abar_s = prod_{r<=s} (1 - b_r)
    b_r = sigmoid(-6 + 12 r / 999) (0.005 - 1e-5) + 1e-5,   r = 0 .. 999

on the tensor that the image processor returns, not clipped. With ``l`` the logits of the original
and ``c`` those of the noised picture, decoding uses

    (1 + alpha) l - alpha c    on the tokens with p >= beta max p under l

Cost
----
Two passes a token, one further encoding of the pictures.

Paper and code
--------------
``variant=release`` reproduces the code before 16 July 2024, which ran the second branch on the
factual cache after the first token, so that only first tokens were contrasted; the published
numbers predate the correction. ``paper`` contrasts every token.

Published
---------
POPE on COCO, LLaVA-1.5-7B, sampled at temperature 1, accuracy / F1, regular to VCD: random
83.29/81.33 to 87.73/87.16, popular 81.88/80.06 to 85.38/85.06, adversarial 78.96/77.57 to
80.88/81.33 (table 1; alpha 1, beta 0.1, step 500; the released POPE script has beta 0.2). Greedy
decoding has higher baselines: on CHAIR (512 tokens) VCD is below plain greedy decoding in the
comparison of arXiv 2502.03628 (CHAIR_S 47.4 against 46.4). Compare like with like.

Unverified
----------
The noise schedule for pictures of other processors than CLIP's; here it is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.edits.logits import contrast
from lmms_causal.interventions.edits.media import content_generator, edit_pixels
from lmms_causal.interventions.plan import Branch, Increment, Plan, Signals, WithoutImage
from lmms_causal.interventions.ranges import check_not_negative, check_share
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
        variant: ``paper``, or ``release``: contrast the first token only.
    """

    alpha: float = 1.0
    beta: float = 0.1
    noise_step: int = 500
    seed: int = 0
    without_image: WithoutImage = "refuse"
    variant: Literal["paper", "release"] = "paper"

    def __post_init__(self) -> None:
        check_not_negative(self, "alpha")
        check_share(self, "beta")
        if not 0 <= self.noise_step < STEPS:
            raise UserError(f"intervention vcd: noise_step={self.noise_step} must lie in 0..999")

    def plan(self) -> Plan:
        """One noised branch and the contrast with it; nothing if neither part has an effect."""
        if self.alpha == 0 and self.beta == 0:
            return Plan()
        if self.alpha == 0:  # the cutoff alone still changes what is sampled
            return Plan(increments=(Increment("vcd", beta=self.beta),))
        noised = Branch(
            "noised",
            media=self.noised,
            without_image=self.without_image,
            first_token_only=self.variant == "release",
        )
        increment = Increment("vcd", self.increment, branches=("noised",), beta=self.beta)
        return Plan(branches=(noised,), increments=(increment,))

    def noised(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Diffuse every picture of the (already normalised) model inputs."""

        def edit(picture: Tensor) -> Tensor:
            generator = content_generator(picture, self.seed)
            noise = torch.randn(picture.shape, generator=generator).to(picture)
            return diffuse(picture, noise, self.noise_step)

        return edit_pixels(inputs, edit)

    def increment(self, signals: Signals) -> Tensor:
        """``alpha (l - c)``, ``[B, K, V]``."""
        return contrast(signals.factual, signals.branches["noised"], self.alpha)


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

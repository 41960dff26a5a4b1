"""Assembly of global and local attention: add the answer to what of the picture matters.

An et al., "AGLA: Mitigating Object Hallucinations in Large Vision-Language Models with Assembly of
Global and Local Attention", CVPR 2025, arXiv 2406.12718; code Lackel/AGLA.

Equations
---------
A second branch sees the same prompt with the pixels blacked out that do not matter for it. A
matcher (BLIP, trained on image-text retrieval) gives a heat map ``h`` of the picture for the
question, from Grad-CAM on the cross-attention of text layer 6, and a cosine similarity ``s``. The
map is normalised, enlarged to 384 x 384 pixels, blurred (standard deviation 0.02 * 384) and
normalised again; then pixels are kept where

    h >= the value at rank int(384 * 384 * r) from above,    r = min(1 - s / 2, 1 - 1e-5)

so that a better match blacks out more. With ``l`` the logits of the original and ``c`` those of the
masked picture, decoding uses a sum, not a contrast:

    l + alpha c    on the tokens with p >= beta max p under l

Cost
----
Two passes a token, one further encoding of the pictures, and for each picture and question one pass
forward and one partly backward through the matcher (BLIP large has about 0.45 billion parameters).

Paper and code
--------------
``variant=release`` reproduces the code, whose second branch ran on the factual cache after the
first token: from there ``c = l``, so that the rule is ``(1 + alpha) l``, a sharper distribution.
``paper`` adds the masked picture's logits at every token.

The code shrinks the picture to 384 x 384 before it masks it, whatever its shape, and hands that to
the model's processor. ``mask_at=original`` stretches the mask over the original picture, so that
sizes and numbers of visual tokens stay; ``mask_at=384`` does as the code, for models that take
every picture at one size. A constant map divides zero by zero in the code; here it keeps all
pixels. The code shows the matcher the bare question: name the first words of an answer-format
instruction by ``format_from`` to leave it out.

Published
---------
POPE, LLaVA-1.5, sampled at temperature 1, mean over COCO, A-OKVQA and GQA, accuracy / F1,
regular to AGLA: random 83.49/82.28 to 88.54/87.71, popular 79.98/79.34 to 85.14/84.68, adversarial
76.03/76.26 to 81.13/81.36; InstructBLIP with AGLA 87.30/87.07, 81.86/82.58, 77.29/79.16 (the table
shown in the authors' repository; alpha 2, beta 0.5, three seeds). Greedy baselines are higher than
sampled ones; compare like with like.

Unverified
----------
Whether the conference version differs from the released code. Whether the tokenizer of the
transformers checkpoints has the token ``[ENC]`` that the original puts first before it matches; it
is used if it is there. The reading of pictures of several frames; videos are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from PIL import Image
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import matching, pictures
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.plan import Branch, Increment, Plan, Signals, WithoutImage
from lmms_causal.interventions.question import Question
from lmms_causal.interventions.ranges import check_not_negative, check_share
from lmms_causal.interventions.registry import method
from lmms_causal.interventions.turns import split_format

__all__ = ["AGLA", "masked"]

SIDE = 384


@method
@dataclass(frozen=True)
class AGLA:
    """Parameters of the assembly.

    Attributes:
        alpha: weight of the masked picture's logits; 0 turns them off.
        beta: plausibility threshold in [0, 1]; 0 keeps every token.
        matcher: says what matters: ``blip:CHECKPOINT`` (a name on the hub, or a folder), a folder,
            or ``saliency``, a stand-in without a model for trials that is not the paper's.
        mask_at: ``original`` masks the picture at its own size, ``384`` as the code at 384 x 384.
        format_from: first words of the line at which the answer-format instruction starts, which
            the matcher is not shown.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them.
        variant: ``paper``, or ``release``: the masked picture counts for the first token only.
    """

    alpha: float = 2.0
    beta: float = 0.5
    matcher: str = f"blip:{matching.CHECKPOINT}"
    mask_at: Literal["original", "384"] = "original"
    format_from: str | None = None
    without_image: WithoutImage = "refuse"
    variant: Literal["paper", "release"] = "paper"

    example: ClassVar[str] = "agla(matcher=saliency)"

    def __post_init__(self) -> None:
        check_not_negative(self, "alpha")
        check_share(self, "beta")
        if self.format_from is not None and not self.format_from.strip():
            raise UserError("intervention agla: format_from is empty; every line starts with that")
        try:
            matching.named(self.matcher)
        except UserError as error:
            raise UserError(f"intervention agla: {error}") from None

    def plan(self) -> Plan:
        """The branch with masked pictures and the sum with it; nothing if neither has an effect."""
        if self.alpha == 0 and self.beta == 0:
            return Plan()
        if self.alpha == 0:  # the cutoff alone still changes what is sampled
            return Plan(increments=(Increment("agla", beta=self.beta),))
        augmented = Branch(
            "augmented",
            view=self.view,
            without_image=self.without_image,
            first_token_only=self.variant == "release",
        )
        increment = Increment("agla", self.increment, branches=("augmented",), beta=self.beta)
        return Plan(
            branches=(augmented,), increments=(increment,), requirements=(self.requirement,)
        )

    def view(self, question: Question) -> tuple[Image.Image, ...]:
        """The question's pictures with what does not matter for it blacked out."""
        if question.videos:
            raise UserError(
                "intervention agla: how a video is masked is not defined; ask about pictures"
            )
        words = split_format(question.text, self.format_from)[0]
        match = matching.load(self.matcher)
        return tuple(
            masked(picture, match(picture, words), shrink=self.mask_at == "384")
            for picture in question.images
        )

    def requirement(self, adapter: ModelAdapter) -> str | None:
        """Masking at 384 x 384 changes how many visual tokens a picture of another size has."""
        if self.mask_at == "original" or not adapter.sees:
            return None
        if adapter.family is not None and adapter.family.overview == "whole":
            return None
        return (
            "mask_at=384 needs a model that takes pictures of every size at one size of its own, "
            "such as LLaVA-1.5; use mask_at=original"
        )

    def increment(self, signals: Signals) -> Tensor:
        """``alpha c``, ``[B, K, V]``."""
        return self.alpha * signals.branches["augmented"]


def masked(picture: Image.Image, match: matching.Match, *, shrink: bool = False) -> Image.Image:
    """Return a picture with what matters least blacked out.

    Args:
        picture: of any size.
        match: what matters in it.
        shrink: whether the result is 384 x 384, rather than of the picture's own size.
    """
    heat = pictures.relevance(match.heat, SIDE)
    mask = pictures.keep_strongest(heat, pictures.keep_ratio(match.similarity))
    return pictures.blacked_out(picture.resize((SIDE, SIDE)) if shrink else picture, mask)

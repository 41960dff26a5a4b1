"""Classifier-free guidance: move away from what the model says without the picture or the prompt.

Sanchez et al., "Stay on topic with Classifier-Free Guidance", ICML 2024, arXiv 2306.17806; in
transformers as ``guidance_scale``, by the first author.

Equations
---------
With ``l`` the log-probabilities given the prompt and ``u`` those given the negative prompt::

    u + scale (l - u)

on all tokens, without a cutoff: as VCD with ``alpha = scale - 1`` and ``beta = 0``. The negative
prompt is the same one without its pictures (``negative=image``), or its last token alone
(``negative=prompt``, for text models too); the answer's tokens follow in both.

Cost
----
Two passes a token; the negative prompt is the shorter one and has no picture to encode.

Paper and code
--------------
``negative=prompt`` is the paper's and transformers' default: both start the unconditional branch
at the prompt's last token. ``negative=image`` gives transformers' result for
``negative_prompt_ids`` without the picture; LCD and the logit part of PAI contrast with it too.
transformers calls the model for the negative branch itself, after the repetition penalty and other
processors of the model's own settings, not with beams, and for Qwen-VL models with the positions of
the other branch; here the two are combined first, with beams and positions of each branch's own.

Published
---------
Text models, lm-eval, ``scale=1.5``, ``negative=prompt``: LAMBADA, LLaMA-7B 81 per cent; no gain
on ARC-challenge and Winogrande. HumanEval (sampled at temperature 0.2), CodeGen-350M pass@1 11.0
without guidance, 11.8 at 1.1, 10.9 at 1.5, 8.6 at 2.0. Chains of thought gain from small scales
and lose above 1.5.

Unverified
----------
Results with ``negative=image``: the paper has none on pictures. Baselines of its zero-shot table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lmms_causal.interventions.branches import TEXT_ONLY, text_only
from lmms_causal.interventions.edits.logits import contrast
from lmms_causal.interventions.edits.tokens import keep_last
from lmms_causal.interventions.plan import Branch, Increment, Plan, Signals, WithoutImage
from lmms_causal.interventions.ranges import check_not_negative
from lmms_causal.interventions.registry import method

__all__ = ["CFG"]

LAST_TOKEN = Branch("last_token", tokens=keep_last, without_image=None)


@method
@dataclass(frozen=True)
class CFG:
    """Parameters of classifier-free guidance.

    Attributes:
        scale: strength; 1 turns it off, 0 leaves the negative prompt alone.
        negative: ``image``: the prompt without its pictures; ``prompt``: its last token only.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them, where
            ``negative=image``.
    """

    scale: float = 1.5
    negative: Literal["image", "prompt"] = "image"
    without_image: WithoutImage = "refuse"

    def __post_init__(self) -> None:
        check_not_negative(self, "scale")

    def plan(self) -> Plan:
        """The negative branch and the contrast with it; nothing at scale 1."""
        if self.scale == 1:
            return Plan()
        branch = text_only(self.without_image) if self.negative == "image" else LAST_TOKEN
        increment = Increment(
            "cfg",
            self.increment,
            branches=(branch.name,),
            counts_tokens=self.negative == "prompt",  # the cut is at the end of the prompt
        )
        return Plan(branches=(branch,), increments=(increment,))

    def increment(self, signals: Signals) -> Tensor:
        """``(scale - 1) (l - u)``, ``[B, K, V]``; equal to the formula up to a constant."""
        name = TEXT_ONLY if self.negative == "image" else LAST_TOKEN.name
        return contrast(signals.factual, signals.branches[name], self.scale - 1)

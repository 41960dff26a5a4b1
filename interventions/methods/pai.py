"""Paying attention to the image, logit part: contrast the answer with the one without the picture.

Liu et al., "Paying More Attention to Image: A Training-Free Method for Alleviating Hallucination
in LVLMs" (PAI), ECCV 2024, arXiv 2407.21771; code LALBJ/PAI.

PAI has two parts. This method is its logit part only. The other one, which adds ``a |s|`` to the
attention scores of image tokens, is not in it: it belongs to the methods that edit attention. A
result of this method alone is not a result of PAI.

Equations
---------
A second branch sees the same words without the picture. With ``l`` and ``u`` the log-probabilities
with and without it, decoding uses

    gamma l - (gamma - 1) u    on the tokens with p >= beta max p under l

Cost
----
Two passes a token; the second branch has a shorter prompt and encodes no picture.

Paper and code
--------------
The released code fixes ``beta`` at 0.1, and with ``gamma = 1`` skips the cutoff as well; so does
this. Equation 4 of the paper combines probabilities, by a reader's account; the code combines
log-probabilities, as here. The released command lines have ``gamma`` 1.1 (the default here), the
scripts' own default is 2. The code contrasts in a logits processor, after a repetition penalty,
and its text-only cache does not follow beams; here it does. It tokenises what stands before and
after the picture separately and keeps both; here the picture's tokens are dropped with the special
tokens around them.

Published
---------
Nothing for the logit part alone. The code's readme recommends it for nucleus sampling. Both parts,
LLaVA-1.5-7B, CHAIR (512 tokens), CHAIR_S / CHAIR_I, from a reader's review: greedy 46.6/13.4 to
24.8/6.9, nucleus sampling 58.2/18.2 to 43.4/14.7.

Unverified
----------
The numbers above against the paper's own table; POPE with LLaVA-1.5-7B, and other models' tables.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.branches import TEXT_ONLY, text_only
from lmms_causal.interventions.edits.logits import contrast
from lmms_causal.interventions.plan import Increment, Plan, Signals, WithoutImage
from lmms_causal.interventions.registry import method

__all__ = ["PAI"]


@method
@dataclass(frozen=True)
class PAI:
    """Parameters of PAI's logit part.

    Attributes:
        gamma: strength; 1 turns the method off, cutoff included.
        beta: plausibility threshold in [0, 1]; 0 keeps every token.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them.
    """

    gamma: float = 1.1
    beta: float = 0.1
    without_image: WithoutImage = "refuse"

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < float("inf"):
            raise UserError(f"intervention pai: gamma={self.gamma} must be 0 or more, and finite")
        if not 0 <= self.beta <= 1:
            raise UserError(f"intervention pai: beta={self.beta} must lie in 0..1")

    def plan(self) -> Plan:
        """The text-only branch and the contrast with it; nothing at gamma 1."""
        if self.gamma == 1:
            return Plan()
        increment = Increment("pai", self.increment, branches=(TEXT_ONLY,), beta=self.beta)
        return Plan(branches=(text_only(self.without_image),), increments=(increment,))

    def increment(self, signals: Signals) -> Tensor:
        """``(gamma - 1) (l - u)``, ``[B, K, V]``; equal to the formula up to a constant."""
        return contrast(signals.factual, signals.branches[TEXT_ONLY], self.gamma - 1)

"""Paying attention to the image: raise the scores of its tokens, and contrast with no picture.

Liu et al., "Paying More Attention to Image: A Training-Free Method for Alleviating Hallucination
in LVLMs" (PAI), ECCV 2024, arXiv 2407.21771; code LALBJ/PAI.

Equations
---------
Attention part. With ``s`` the scaled score of a token of a picture before the softmax, for every
token that predicts the answer (the prompt's last one, and the answer's own), in all heads of the
layers concerned::

    s  <-  s + alpha |s|

Logit part. A second branch sees the same words without the picture; its attention is not changed.
With ``l`` and ``u`` the log-probabilities with and without it, decoding uses

    gamma l - (gamma - 1) u    on the tokens with p >= beta max p under l

``alpha=0`` leaves the first part out, ``gamma=1`` the second one with its cutoff.

Cost
----
Two passes a token; the second branch has a shorter prompt and encodes no picture. One query a token
and head has its weights written out, in the layers concerned.

Paper and code
--------------
The command lines of the code's readme have ``alpha`` 0.2 and ``gamma`` 1.1, layers 2 to 31 of 32,
for all models; those are the defaults here (layers: all but the first two). The scripts' own
default of ``gamma`` is 2. ``beta`` is fixed at 0.1, and ``gamma = 1`` skips the cutoff as well; so
does this. Equation 4 of the paper combines probabilities, by a reader's account; the code combines
log-probabilities, as here.

With both parts on, the code does not change attention in the prompt's pass, because the flag that
keeps the other branch unchanged starts out set: the first token of an answer has no attention part,
which is all there is to a yes or no. ``variant=release`` does the same; ``paper`` has it from the
first token on. The code contrasts in a logits processor, after a repetition penalty, and its
text-only cache does not follow beams; here it does. It tokenises what stands before and after the
picture separately and keeps both; here the picture's tokens are dropped with the special tokens
around them.

Published
---------
LLaVA-1.5-7B, CHAIR (512 tokens), CHAIR_S / CHAIR_I, from a reader's review: greedy 46.6/13.4 to
24.8/6.9, nucleus sampling 58.2/18.2 to 43.4/14.7. POPE on COCO, greedy, mean of three splits,
accuracy / F1, as run by the authors of VISTA (their table 2): 84.79/85.61 to 85.85/86.08. Nothing
for one part alone; the code's readme recommends the logit part for nucleus sampling.

Unverified
----------
The first numbers against the paper's own table, and ``alpha`` there; POPE in it; other models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.edits import AttentionEdit, Gain, Where
from lmms_causal.interventions.attention.spans import GENERATED, IMAGE, PREDICTING
from lmms_causal.interventions.branches import TEXT_ONLY, text_only
from lmms_causal.interventions.edits.logits import contrast
from lmms_causal.interventions.layers import all_but_first, beyond, named_layers
from lmms_causal.interventions.plan import Increment, Plan, Signals, WithoutImage
from lmms_causal.interventions.ranges import check_not_negative, check_share
from lmms_causal.interventions.registry import method

__all__ = ["PAI"]


@method
@dataclass(frozen=True)
class PAI:
    """Parameters of PAI.

    Attributes:
        alpha: strength of the attention part; 0 turns it off.
        gamma: strength of the logit part; 1 turns it off, cutoff included.
        beta: plausibility threshold in [0, 1]; 0 keeps every token.
        layers: decoder layers of the attention part, such as ``2-31``, counted from 0, both ends
            included; None means all but the first two.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them.
        variant: ``paper``, or ``release``, where with both parts on the attention part begins
            with the second token.
    """

    alpha: float = 0.2
    gamma: float = 1.1
    beta: float = 0.1
    layers: str | None = None
    without_image: WithoutImage = "refuse"
    variant: Literal["paper", "release"] = "paper"

    def __post_init__(self) -> None:
        check_not_negative(self, "alpha", "gamma")
        check_share(self, "beta")
        if self.layers is not None:
            named_layers("pai", "layers", self.layers)

    def plan(self) -> Plan:
        """The parts that have an effect: raised scores; the text-only branch and its contrast."""
        plan = Plan()
        if self.gamma != 1:
            increment = Increment("pai", self.increment, branches=(TEXT_ONLY,), beta=self.beta)
            plan = Plan(branches=(text_only(self.without_image),), increments=(increment,))
        if self.alpha == 0:
            return plan
        late = self.variant == "release" and self.gamma != 1
        where = Where(self.edited, queries=GENERATED if late else PREDICTING, keys=IMAGE)
        raised = Plan(
            attention=(AttentionEdit(Gain(self.alpha), where, counts_tokens=True),),
            increments=() if plan.increments else (Increment("pai", None, (), self.without_image),),
            requirements=(self.obstacle,),
        )
        return raised.then(plan)

    def increment(self, signals: Signals) -> Tensor:
        """``(gamma - 1) (l - u)``, ``[B, K, V]``; equal to the formula up to a constant."""
        return contrast(signals.factual, signals.branches[TEXT_ONLY], self.gamma - 1)

    def edited(self, depth: int) -> Sequence[int]:
        """The layers of the attention part."""
        if self.layers is None:
            return all_but_first(depth, 2)
        return named_layers("pai", "layers", self.layers)

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the attention part cannot run on a model, or None."""
        if self.layers is None:
            return None
        return beyond("layers", self.edited(adapter.depth), adapter.depth, "decoder layers")

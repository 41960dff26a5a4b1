"""Post-hoc attention steering: scale what heads pay to the parts of a prompt that matter less.

Zhang et al., "Tell Your Model Where to Attend: Post-hoc Attention Steering for LLMs" (PASTA), ICLR
2024, arXiv 2311.02262, code QingruZhang/PASTA; and context steering in Wang et al., "On the Loss of
Context-awareness in General Instruction Fine-tuning", arXiv 2411.02688, code
YihanWang617/context_awareness.

Equations
---------
In the heads named, weights ``a`` on some tokens ``S`` are multiplied by ``alpha`` and each row is
divided by its sum, for every query of prompt and answer. That is ``log alpha`` added to the
scores::

    a' = softmax(s + log alpha [j in S])

    exclude       S = the prompt without the highlight
    include       S = the highlight
    generation    S = the prompt

Cost
----
An added bias instead of a causal kernel, within the fused kernel.

Context steering is ``pasta(highlight=turn;alpha=0.9)``: all heads of all layers, towards the user's
turn. The turn's pictures are a part of their own: ``highlight=turn|image`` has both.

Paper and code
--------------
``exclude`` with ``alpha`` 0.01 is the default of paper and code. The code asks for the heads, which
the authors choose for a model by trying each on a small training set; here the default is all of
them, and ``heads`` and ``layers`` name fewer. A highlight of several parts is their union; the code
adds ``log alpha`` once for every part that a token is not in. Its class documents ``include`` as
above, but the function it runs for several parts then takes ``log alpha`` off the whole prompt,
which is ``exclude`` with ``1 / alpha``. Where a prompt has nothing of the highlight, ``exclude``
scales all of it.

``variant=release`` is context steering as its code does it: one mask is edited in place, and goes
from layer to layer, so that layer ``l`` sees ``(l + 1) log alpha``. With ``alpha`` 0.9 the last of
32 layers multiplies by 0.034. Without it every layer multiplies by ``alpha``.

Published
---------
Context steering: ``alpha`` of 0.9 to 0.95 (TinyLlama, Llama-2, Llama-3), with ``variant=release``;
by its reviewers ``alpha = 1`` was often best in the table, so small effects are to be expected.

Unverified
----------
The tables of both papers. PASTA's lists of heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lmms_causal.interventions.attention.edits import AttentionEdit, Bias
from lmms_causal.interventions.attention.selecting import Selected
from lmms_causal.interventions.attention.spans import PROMPT, Span, parse_span
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.ranges import check_positive
from lmms_causal.interventions.registry import method

__all__ = ["Pasta"]


@method
@dataclass(frozen=True)
class Pasta:
    """Parameters of attention steering.

    Attributes:
        highlight: what matters: a span such as ``question``, ``turn``, ``image``, ``segment2``,
            ``sentence3``, ``turn|image`` or ``5-20`` (tokens, counted from 0).
        alpha: factor of the weights, above 0; 1 turns the method off.
        mode: ``exclude`` scales the prompt without the highlight, ``include`` the highlight,
            ``generation`` the whole prompt.
        layers: such as ``8-15`` or ``1|8-15``, counted from 0, both ends included; None for all.
        heads: query heads, as ``12.3|14.0-2`` by layer, ``0|3-5`` in every layer, or ``all``.
        variant: ``paper`` scales alike in every layer, ``release`` by ``alpha`` to the power of the
            layer's number, counted from 1.
    """

    highlight: str = "question"
    alpha: float = 0.01
    mode: Literal["exclude", "include", "generation"] = "exclude"
    layers: str | None = None
    heads: str = "all"
    variant: Literal["paper", "release"] = "paper"

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", self.heads.replace(",", "|"))
        check_positive(self, "alpha")
        Selected.named("pasta", self.layers, self.heads)
        self.scaled()

    def scaled(self) -> Span:
        """The tokens whose weights are multiplied."""
        highlight = parse_span("pasta", "highlight", self.highlight)
        scaled = {"exclude": PROMPT & ~highlight, "include": highlight, "generation": PROMPT}
        return scaled[self.mode]

    def amount(self, layer: int) -> float:
        """What is added to the scores in a layer of ``variant=release``."""
        return (layer + 1) * math.log(self.alpha)

    def plan(self) -> Plan:
        """One added bias; nothing at alpha 1."""
        if self.alpha == 1:
            return Plan()
        selected = Selected.named("pasta", self.layers, self.heads)
        keys = self.scaled()
        bias = Bias(self.amount if self.variant == "release" else math.log(self.alpha))
        edit = AttentionEdit(bias, selected.where(keys=keys), counts_tokens=keys.names_answer)
        return Plan(attention=(edit,), requirements=(selected.beyond,))

"""Attention suppression: hide a sentence, or any part of a prompt, from all that follows it.

Bogdan et al., "Thought Anchors: Which LLM Reasoning Steps Matter?", arXiv 2506.19143; code
interp-reasoning/thought-anchors.

Equations
---------
In the layers and heads named, with ``S`` the tokens of the part::

    M'[i,j] = 0   for j in S and i not in S

What stands before ``S`` does not change, nor does ``S`` itself. In all layers and heads, everything
behind it is computed as if its tokens were not there, but for the places they take.

Cost
----
A mask instead of a causal kernel; no further pass.

How much each later sentence depends on each earlier one is an analysis of its own, ``lmms-causal
attend``.

Paper and code
--------------
The code hides the columns from all queries, the part's own tokens included: ``own=true``. In all
layers and heads that makes no difference to what follows, because nobody sees those tokens. It adds
two minima of the number type, which in bfloat16 is an infinity, and counts on a mask that PyTorch's
fused kernel often does without, in which case the future is shown; here masks are boolean.
Sentences in the paper are those of the model's reasoning. Here ``sentence`` counts those of the
user's last turn, pictures apart; parts are also segments that a task declares, and ranges of
tokens.

Published
---------
Nothing that was verified here for a benchmark: the method is a measure (the divergence of the
predictions of later sentences), not a way to answer better.

Unverified
----------
The paper's correlations between suppression and resampling. Its text was not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lmms_causal.errors import UserError
from lmms_causal.interventions.attention.edits import AttentionEdit, Close
from lmms_causal.interventions.attention.selecting import Selected
from lmms_causal.interventions.attention.spans import ALL, Span, parse_span, sentence
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.registry import method

__all__ = ["Suppress"]


@method
@dataclass(frozen=True)
class Suppress:
    """Parameters of attention suppression; ``sentence`` or ``part`` says what is hidden.

    Attributes:
        sentence: number of a sentence of the user's last turn, counted from 1.
        part: a span, such as ``image``, ``question``, ``segment2``, ``sentence2-3`` or ``5-20``
            (tokens, counted from 0).
        own: whether the part's tokens are hidden from each other too, as in the code.
        layers: such as ``8-15`` or ``1|8-15``, counted from 0, both ends included; None for all.
        heads: query heads, as ``12.3|14.0-2`` by layer, ``0|3-5`` in every layer, or ``all``.
    """

    example: ClassVar[str] = "suppress(sentence=1)"

    sentence: int | None = None
    part: str | None = None
    own: bool = False
    layers: str | None = None
    heads: str = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", self.heads.replace(",", "|"))
        if (self.sentence is None) == (self.part is None):
            raise UserError(
                f"intervention suppress: sentence={self.sentence} and part={self.part} must be one "
                "or the other; write e.g. suppress(sentence=3) or suppress(part=image)"
            )
        if self.sentence is not None and self.sentence < 1:
            raise UserError(f"intervention suppress: sentence={self.sentence} must be 1 or more")
        self.plan()

    def hidden(self) -> Span:
        """The tokens that are hidden."""
        if self.sentence is not None:
            return sentence(self.sentence)
        return parse_span("suppress", "part", str(self.part))

    def plan(self) -> Plan:
        """One edit of the mask."""
        selected = Selected.named("suppress", self.layers, self.heads)
        hidden = self.hidden()
        queries = ALL if self.own else ~hidden
        edit = AttentionEdit(
            Close(), selected.where(queries, hidden), counts_tokens=hidden.names_answer
        )
        return Plan(attention=(edit,), requirements=(selected.beyond,))

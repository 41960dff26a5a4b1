"""Best of n: sample several answers and keep the likeliest, or the most frequent, of them.

Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models", ICLR 2023,
arXiv 2203.11171, for the majority. Here it is a control: what do methods with several passes gain
over the unchanged model with as many passes?

Equations
---------
Answers ``y_1 .. y_n`` are drawn from ``softmax(l / temperature)``. With ``T`` tokens in an answer,
its end token included, ``by=likelihood`` keeps the one with the largest

    (1 / T) sum_t log p(y_t | y_<t)      p = softmax(l)

and ``by=majority`` the one that was drawn most often, token for token; the likeliest of these
where several were.

Cost
----
``n`` answers, one after the other. The cheapest comparison with a method of two passes is ``n=2``,
where a majority decides nothing: use the likelihood.

Paper and code
--------------
The majority of the paper is over final results that are parsed from the answers; a plug-in sees
tokens, so it is over whole answers, which suits answers of a word. Where the caller samples itself,
it is asked ``n`` times with its own settings, and ``temperature`` and ``seed`` are not read.
Composed with other methods, ``l`` are the logits that these make. Answers that are scored, not
generated, stay as they are.

Published
---------
None as a control of this kind.

Unverified
----------
Nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lmms_causal.errors import UserError
from lmms_causal.interventions.plan import Plan, Selection
from lmms_causal.interventions.ranges import check_positive
from lmms_causal.interventions.registry import method

__all__ = ["BestOfN"]


@method
@dataclass(frozen=True)
class BestOfN:
    """Parameters of the selection among sampled answers.

    Attributes:
        n: answers drawn; 1 turns it off: the one answer is decoded as the caller says.
        temperature: of the draws, above 0.
        by: ``likelihood``, the mean log-probability of a token, or ``majority``.
        seed: global seed of the draws, which otherwise depend on the document only.
    """

    n: int = 2
    temperature: float = 1.0
    by: Literal["likelihood", "majority"] = "likelihood"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UserError(f"intervention best_of_n: n={self.n} must be 1 or more")
        check_positive(self, "temperature")

    def plan(self) -> Plan:
        """One selection; nothing if there is one answer."""
        if self.n == 1:
            return Plan()
        return Plan(
            selection=Selection("best_of_n", self.n, self.temperature, self.by, seed=self.seed)
        )

"""Instruction contrastive decoding: contrast with the answer under a disturbing instruction.

Wang et al., "Mitigating Hallucinations in Large Vision-Language Models with Instruction Contrastive
Decoding" (ICD), Findings of ACL 2024, arXiv 2403.18715; code p1k0pan/ICD.

Equations
---------
A second branch sees the same pictures and the same question, with a disturbing instruction before
the question. With ``l`` the logits of the original and ``c`` those of the disturbed prompt,

    (1 + alpha) l - alpha c    on the tokens with p >= beta max p under l

``role`` names the disturbance: ``detector`` and ``relations`` tell the model to name whatever it
can tell apart (the latter with forms, colours and relations), ``evasive`` not to name things,
``confused`` to see them as through fog, ``vague`` to give an overall impression. All are meant to
raise the chance of objects that are not there, the helpful ones too. ``text`` takes other words.

Cost
----
Two passes a token. The pictures are encoded once.

Paper and code
--------------
The code puts its five roles, whose meanings are those above, into the text of InstructBLIP's and
MiniGPT-4's Q-Former, or in place of LLaVA-1.5's system message. Here the words are ours and stand
before the question, behind the pictures, which any model can be given. The released scripts run
through all five and choose none; the default here is ours. They contrast only with ``--use_cd``,
which is off: without it they answer under the disturbed prompt.

Published
---------
The tables of the repository are pictures, and no number was read. All its answers are sampled at
temperature 1; the code has no greedy path.

Unverified
----------
The paper's own equation (the formula is the code's), its numbers, and which role they are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.edits.logits import contrast
from lmms_causal.interventions.edits.tokens import Token, insert_before_question
from lmms_causal.interventions.plan import Branch, Increment, Plan, Signals
from lmms_causal.interventions.ranges import check_not_negative, check_share
from lmms_causal.interventions.registry import method

__all__ = ["DISTURBANCES", "ICD", "Disturbance"]

Role = Literal["detector", "relations", "evasive", "confused", "vague"]

DISTURBANCES: dict[Role, str] = {
    "detector": "Act as a system that lists all the things it can tell apart.",
    "relations": (
        "Act as a system that lists all the things it can tell apart. Mind their forms, their "
        "colours and how they stand to one another."
    ),
    "evasive": "Do not say which things there are, nor what kinds they belong to.",
    "confused": "Act as a system whose eyes are muddled and see everything as through fog.",
    "vague": "Act as a system that only says what the whole looks like at a glance.",
}
"""Our wording of the instruction of each role."""


@dataclass(frozen=True)
class Disturbance:
    """A token edit: words on a line of their own before the question."""

    text: str

    def __call__(self, row: Sequence[Token], adapter: ModelAdapter) -> list[Token]:
        """Return the prompt's tokens with those of the words put in."""
        words = adapter.tokenizer(f"{self.text}\n", add_special_tokens=False)["input_ids"]
        return insert_before_question(row, words, adapter)


@method
@dataclass(frozen=True)
class ICD:
    """Parameters of instruction contrastive decoding.

    Attributes:
        alpha: strength of the contrast; 0 turns it off.
        beta: plausibility threshold in [0, 1]; 0 keeps every token.
        role: which disturbing instruction: ``detector``, ``relations``, ``evasive``, ``confused``
            or ``vague``.
        text: other words for the instruction, in place of those of ``role``.
    """

    alpha: float = 1.0
    beta: float = 0.1
    role: Role = "confused"
    text: str | None = None

    def __post_init__(self) -> None:
        check_not_negative(self, "alpha")
        check_share(self, "beta")
        if self.text is not None and not self.text.strip():
            raise UserError("intervention icd: text is empty; give the words of an instruction")

    def plan(self) -> Plan:
        """The disturbed branch and the contrast with it; nothing if neither part has an effect."""
        if self.alpha == 0:  # the cutoff alone still changes what is sampled
            return Plan(increments=(Increment("icd", beta=self.beta),)) if self.beta else Plan()
        words = DISTURBANCES[self.role] if self.text is None else self.text
        branch = Branch("disturbed", tokens=Disturbance(words), without_image=None)
        increment = Increment("icd", self.increment, branches=("disturbed",), beta=self.beta)
        return Plan(branches=(branch,), increments=(increment,), requirements=(needs_words,))

    def increment(self, signals: Signals) -> Tensor:
        """``alpha (l - c)``, ``[B, K, V]``."""
        return contrast(signals.factual, signals.branches["disturbed"], self.alpha)


def needs_words(adapter: ModelAdapter) -> str | None:
    """Say that there is no tokenizer to write the instruction with, or None."""
    if adapter.tokenizer is None:
        return "icd writes an instruction into the prompt and has no tokenizer; pass processor="
    return None

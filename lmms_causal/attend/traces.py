"""A trace: a prompt with its answer, token by token, and what its tokens are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lmms_causal.attend.documents import Document
from lmms_causal.interventions.analysis.sentences import Sentence
from lmms_causal.interventions.attention.layout import Layout, Role
from lmms_causal.interventions.parts import PromptParts

__all__ = ["PARTS", "Trace"]

PARTS = ("first", "system", "user", "image", "around", "tail", "answer")
"""Parts of a trace: its first token, on which attention often rests; text before the user's last
turn; the turn's words; pictures; what the chat template writes around pictures of the turn, and
behind the turn; the answer."""

_ROLES = {
    Role.SYSTEM: "system",
    Role.TURN: "user",
    Role.IMAGE: "image",
    Role.AROUND: "around",
    Role.TAIL: "tail",
    Role.GENERATED: "answer",
}


@dataclass(frozen=True)
class Trace:
    """One text that a model has read, unpadded.

    Attributes:
        document: what was asked.
        inputs: model inputs of prompt and answer, a batch of one, ``input_ids [1, n]``.
        start: number of tokens that are prompt.
        layout: roles of the tokens.
        turn: where the user's turn is.
        answer: text of the answer.
        sentences: of the answer, their tokens counted from the beginning of the trace.
        needle: tokens ``[start, stop)`` of the needle; None without one.
        texts: each token's text.
    """

    document: Document
    inputs: dict[str, Any]
    start: int
    layout: Layout
    turn: PromptParts
    answer: str
    sentences: tuple[Sentence, ...]
    needle: tuple[int, int] | None
    texts: tuple[str, ...]

    @property
    def ids(self) -> Tensor:
        """All tokens, ``[n]``."""
        ids: Tensor = self.inputs["input_ids"][0]
        return ids

    @property
    def length(self) -> int:
        """Number of tokens ``n``."""
        return len(self.ids)

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return self.length > self.start

    @property
    def predicting(self) -> slice:
        """The queries whose predictions are the answer's tokens, or without one the last query."""
        return slice(self.start - 1, max(self.start, self.length - 1))

    @property
    def written(self) -> slice:
        """The tokens of the answer."""
        return slice(self.start, self.length)

    @cached_property
    def parts(self) -> Tensor:
        """Index in :data:`PARTS` of each token, ``[n]``."""
        roles = self.layout.roles[0].long()
        parts = torch.full_like(roles, -1)
        for role, part in _ROLES.items():
            parts[roles == role] = PARTS.index(part)
        parts[0] = 0
        return parts

    @property
    def shows_picture(self) -> bool:
        """Whether some tokens are of a picture."""
        return bool((self.parts == PARTS.index("image")).any())

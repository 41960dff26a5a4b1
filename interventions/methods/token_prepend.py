"""Token prepending: a word before the question holds, layer by layer, what its last token knows.

Fu et al., "Token Prepending: A Training-Free Approach for Eliciting Better Sentence Embeddings from
LLMs", arXiv 2412.11556; code fuyuchenIfyw/token_prepending (MIT).

Equations
---------
A placeholder ``p`` is written before the question. Before each of the layers ``start`` to
``end - 1``, with ``x`` the residual stream and ``n`` the prompt's last token::

    x[p]  <-  x[n]

so that in the layers that follow all words of the question, which come after ``p``, see a summary
of the whole. Only the prompt is read in this way; decoding steps are as usual.

Cost
----
One further word in the prompt, one copy a layer.

Paper and code
--------------
The paper makes embeddings of sentences, as the state of the last token of a prompt that asks for
one word; the placeholder is a new token with a random embedding before the sentence. Here the model
answers, and the placeholder is an ordinary word: what is looked up for it lasts up to layer
``start``. If ``word`` has several tokens the first one is overwritten. The placeholder is the first
of the user's words behind the last picture. That needs a host that says where the user's turn is,
as the models of both harnesses do; without one, in a prompt without pictures, the row's first token
would be taken, which is why such a row is left alone.

The code reads layer 27 of Llama-2-7B and the last but one of others; ``start=1``, and ``end=7`` for
Llama-2-7B, 3 for Llama-3-8B, 6 for Qwen2-7B and Gemma-2-9B. With ``end`` left out it is 7 of 32
layers, scaled to the model's depth, at least one layer being overwritten; that rule is ours.

Published
---------
No numbers for answers: the paper's are of sentence embeddings.

Unverified
----------
Any effect on answers. The paper's text; the above is from its code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.spans import BOS, QUESTION, TURN
from lmms_causal.interventions.layers import beyond
from lmms_causal.interventions.plan import Plan, ResidualEdit
from lmms_causal.interventions.registry import method

__all__ = ["TokenPrepend", "overwritten"]


@method
@dataclass(frozen=True)
class TokenPrepend:
    """Parameters of token prepending.

    Attributes:
        word: the placeholder before the question.
        start: the first layer, counted from 0, before which it is overwritten.
        end: the layer before which it is no longer; None means 7 of 32, scaled to the model's
            depth. Equal to ``start``, it turns the method off.
    """

    word: str = "Summary:"
    start: int = 1
    end: int | None = None

    def __post_init__(self) -> None:
        if not self.word.strip():
            raise UserError("intervention token_prepend: word is empty; name a word")
        if self.start < 0:
            raise UserError(f"intervention token_prepend: start={self.start} must be 0 or more")
        if self.end is not None and self.end < self.start:
            raise UserError(
                f"intervention token_prepend: end={self.end} must not be below start={self.start}"
            )

    def plan(self) -> Plan:
        """The word, and its state overwritten; nothing if no layer is."""
        if self.end == self.start:
            return Plan()
        edit = ResidualEdit(
            "token_prepend", self.layers, overwritten, at="input", counts_tokens=True
        )
        return Plan(rewrites=(self.prepended,), residual=(edit,), requirements=(self.obstacle,))

    def prepended(self, text: str) -> str:
        """The user's turn with the word before it."""
        return f"{self.word} {text}"

    def layers(self, depth: int) -> range:
        """The layers before which the placeholder is overwritten."""
        if self.end is not None:
            return range(self.start, self.end)
        return range(self.start, max(round(7 / 32 * depth), self.start + 1))

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the method cannot run on a model, or None."""
        layers = self.layers(adapter.depth)
        return beyond("start and end", layers, adapter.depth, "decoder layers")


def overwritten(states: Tensor, where: Coordinates) -> Tensor:
    """The residual stream ``[R, q, D]`` with the last token's state at the question's first token.

    It is as it was in passes that do not have both, and in rows without a question.
    """
    layout = where.layout
    assert layout is not None
    last, begin = layout.prompt_end - 1, int(where.query_columns[0])
    if not begin <= last <= int(where.query_columns[-1]):
        return states
    question = (QUESTION & TURN).resolve(layout)  # the words, without what is around a picture
    first = question & (question.long().cumsum(dim=1) == 1) & ~BOS.resolve(layout)
    placed = first[:, where.query_columns.to(first.device)].to(states.device)
    return torch.where(placed[..., None], states[:, last - begin, None], states)

"""Sentences of the user's last turn, in the tokens of a batch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.analysis.sentences import sentences
from lmms_causal.interventions.attention.layout import Layout, Role

__all__ = ["with_sentences"]


def with_sentences(layout: Layout, ids: Tensor, tokenizer: Any) -> Layout:
    """Return a layout that knows the sentences of each prompt's last turn.

    Pictures belong to no sentence, and the words around one are read as if it were not there. Where
    the turn is unknown, what counts as the turn is split.

    Args:
        layout: of the batch.
        ids: its tokens ``[R, N]``.
        tokenizer: made the tokens.

    Raises:
        UserError: there is no tokenizer.
    """
    if tokenizer is None:
        raise UserError(
            "sentences are found in the text of a prompt: give the model's processor or tokenizer "
            "to apply(model, spec, processor)"
        )

    @cache  # rows made of one prompt are split once
    def split(words: tuple[int, ...]) -> list[tuple[int, int]]:
        return [it.tokens for it in sentences(tokenizer, words)[1]]

    numbers = torch.zeros_like(ids, dtype=torch.int32)
    for row in range(len(ids)):
        columns = (layout.roles[row] == Role.TURN).nonzero()[:, 0].to(ids.device)
        spans = split(tuple(ids[row, columns].tolist()))
        for number, (start, stop) in enumerate(spans, start=1):
            numbers[row, columns[start:stop]] = number
    return replace(layout, sentences=numbers)

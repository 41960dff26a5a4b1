"""Which token of another prompt stands for which token of the prompt as asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lmms_causal.interventions.edits.tokens import Token, edited

if TYPE_CHECKING:
    from lmms_causal.interventions.adapter import ModelAdapter

__all__ = ["counterparts", "edited_and_aligned"]

_PLACES = "places"


def edited_and_aligned(
    inputs: Mapping[str, Any],
    edit: Callable[[Sequence[Token], ModelAdapter], list[Token]],
    adapter: ModelAdapter,
) -> tuple[dict[str, Any], Tensor]:
    """Return another prompt as :func:`~.tokens.edited`, and the counterpart of each column.

    Args:
        inputs: ``input_ids [B, L]`` of prompts, without answers, and whatever belongs to them.
        edit: applied to each row.
        adapter: the model.

    Returns:
        The other model inputs, with ``L'`` columns, and the index ``[B, L]`` of the column that
        stands for each column of ``inputs``; -1 where none does.
    """
    ids: Tensor = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    real = torch.ones_like(ids) if mask is None else mask
    # new tokens and padding get 0, as in every input that has a value a token
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device).expand_as(ids)
    own = edited({**inputs, _PLACES: places}, edit, adapter, None)
    sources = own.pop(_PLACES) - 1
    rows = zip(real.tolist(), sources.tolist(), own["attention_mask"].tolist(), strict=True)
    found = [
        counterparts(
            [column for column, is_real in enumerate(kept) if is_real],
            [(column, at[column]) for column, is_real in enumerate(there) if is_real],
            len(kept),
        )
        for kept, at, there in rows
    ]
    return own, torch.tensor(found, device=ids.device)


def counterparts(here: Sequence[int], there: Sequence[tuple[int, int]], width: int) -> list[int]:
    """Return for each column of a row the other row's column that stands for it, or -1.

    A token that both rows have stands for itself. Between two such tokens, those that are gone and
    those that are new are matched from the end, as far as there are some of both.

    Args:
        here: the real columns of the row.
        there: the real columns of the other row, each with the column it comes from, -1 if new.
        width: how many columns the row has.
    """
    found = [-1] * width
    last = -1
    new: list[int] = []

    def match(until: int) -> None:
        gone = [column for column in here if last < column < until]
        for column, other in zip(reversed(gone), reversed(new), strict=False):
            found[column] = other

    for other, source in there:
        if source < 0:
            new.append(other)
            continue
        match(source)
        found[source] = other
        last, new = source, []
    match(width)
    return found

"""Which positions of the logits are combined, and where a branch has something to say there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lmms_causal.interventions.plan import Branch

__all__ = ["applies", "last", "prompt_part", "scored_steps"]


def scored_steps(ids: Tensor, width: int, prompt_length: int) -> Tensor:
    """Return the answer steps ``[K]`` that the last ``K`` of ``width`` positions predict.

    Args:
        ids: prompts and answers ``[B, L]``.
        width: positions that there are logits for.
        prompt_length: columns that are prompt; its last one predicts step 0.
    """
    count = min(width, ids.shape[1] - prompt_length + 1)
    first = ids.shape[1] - count - (prompt_length - 1)
    return torch.arange(first, first + count, device=ids.device)


def applies(branch: Branch, with_image: Tensor, count: int, shared: Tensor | None) -> Tensor:
    """Return where a branch applies, ``[B, K]``: rows that it is for, positions that it has.

    Args:
        branch: the branch.
        with_image: which rows have an image, ``[B]`` bool.
        count: ``K``, the number of positions.
        shared: how many last positions ``[B]`` of its own tokens are in step; None for all.
    """
    where = with_image[:, None].expand(-1, count)
    if branch.without_image is None:
        where = torch.ones_like(where)
    if shared is not None:
        back = torch.arange(count, 0, -1, device=where.device)
        where = where & (back[None] <= shared.to(where.device)[:, None])
    return where


def last(logits: Tensor, count: int) -> Tensor:
    """Return the last ``count`` positions ``[B, K, V]``, zeros where there are fewer."""
    missing = count - logits.shape[1]
    return pad(logits, (0, 0, missing, 0)) if missing > 0 else logits[:, -count:]


def prompt_part(inputs: Mapping[str, Any], length: int | None) -> dict[str, Any]:
    """Return model inputs cut to the first ``length`` columns; None keeps all."""
    ids = inputs["input_ids"]
    if length is None or length == ids.shape[1]:
        return dict(inputs)
    cut = {}
    for name, value in inputs.items():
        own = isinstance(value, Tensor) and (value.shape == ids.shape or name == "position_ids")
        cut[name] = value[..., :length] if own else value
    return cut

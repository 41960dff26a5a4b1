"""What a host says about the batch at hand, which the model's inputs do not show."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lmms_causal.interventions.parts import PromptParts

__all__ = ["Request", "seeds_of"]


@dataclass(frozen=True)
class Request:
    """Facts about one batch.

    Attributes:
        documents: identity of each prompt's document; seeds whatever a method draws at random.
            None: an identity is made from the tokens and pictures of the batch.
        prompt_length: columns of ``input_ids`` that are prompt, where an answer to be scored
            follows. None: unknown.
        views: for each branch that shows other pictures, their tensors.
        parts: where the turn and the segments of each prompt are. None: unknown.
    """

    documents: Sequence[str] | None = None
    prompt_length: int | None = None
    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parts: Sequence[PromptParts] | None = None


def seeds_of(request: Request, inputs: Mapping[str, Any]) -> tuple[int, ...]:
    """Return a number for each row, a function of its document.

    Rows made of one prompt (beams, several answers) share it.
    """
    ids: Tensor = inputs["input_ids"]
    if request.documents is None:
        mask = inputs.get("attention_mask")
        end = ids.shape[1] if request.prompt_length is None else request.prompt_length
        real = torch.ones_like(ids) if mask is None else mask
        shown = _digest_of_pictures(inputs)
        names = [
            f"{row[:end][kept[:end].bool()].tolist()}/{shown}"
            for row, kept in zip(ids, real, strict=True)
        ]
    else:
        repeats = ids.shape[0] // len(request.documents)
        names = [name for name in request.documents for _ in range(repeats)]
    return tuple(_number(name) for name in names)


def _digest_of_pictures(inputs: Mapping[str, Any]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name in ("pixel_values", "pixel_values_videos"):
        pixels = inputs.get(name)
        if isinstance(pixels, Tensor):
            digest.update(pixels.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big")

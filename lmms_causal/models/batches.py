"""A batch as the model is given it: tensors that fit, and where the parts of its prompts are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.models.parts import beheaded, parts_of
from lmms_causal.models.prompts import Encoder
from lmms_causal.models.turns import Prompt

__all__ = ["Batch", "encoded"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Encoded prompts.

    Attributes:
        inputs: model inputs, padded on the left: ``input_ids [B, L]``, ``attention_mask [B, L]``,
            media.
        parts: where the parts of each prompt are; None if nobody asked.
    """

    inputs: dict[str, Any]
    parts: tuple[PromptParts, ...] | None = None


def encoded(
    encoder: Encoder,
    prompts: Sequence[Prompt],
    *,
    room: int = 0,
    limit: int | None = None,
    with_parts: bool = False,
) -> Batch:
    """Encode a batch, leaving ``room`` for new tokens.

    A text prompt that is too long loses its beginning, as in both harnesses; cutting into the
    placeholders of an image would break it, so there it is an error.

    Args:
        encoder: tokenises and processes.
        prompts: all with the same kinds of media.
        room: tokens that will follow.
        limit: positions there are; None: any number.
        with_parts: whether to find the parts of the prompts.

    Raises:
        UserError: a prompt that is too long and shows something, or whose segments would be cut.
    """
    inputs, segments = encoder.encode_segments(prompts)
    length = inputs["input_ids"].shape[1]
    over = limit is not None and length + room > limit
    parts: tuple[PromptParts, ...] | None = None
    if with_parts:
        rows = [
            row[kept.bool()].tolist()
            for row, kept in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
        ]
        parts = tuple(
            parts_of(encoder, prompt, row, groups)
            for prompt, row, groups in zip(prompts, rows, segments, strict=True)
        )
    if limit is None or not over:
        return Batch(inputs, parts)
    if any(prompts[0].outline.media) or room >= limit:
        raise UserError(
            f"{prompts[0].key}: {length} prompt tokens and {room} new ones exceed the {limit} "
            "positions there are; use a shorter prompt, smaller images, fewer frames or a smaller "
            "max_new_tokens"
        )
    logger.warning(
        "%s: the prompt has %d tokens, and there is room for %d; its beginning is cut off",
        prompts[0].key,
        length,
        limit - room,
    )
    if parts is not None:
        parts = tuple(
            beheaded(it, max(0, len(row) - (limit - room)), prompt.key)
            for it, row, prompt in zip(parts, rows, prompts, strict=True)
        )
    return Batch({name: value[:, -(limit - room) :] for name, value in inputs.items()}, parts)

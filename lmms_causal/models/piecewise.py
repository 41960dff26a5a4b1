"""Tokenise the segments of a prompt apart from what is around them, whatever the processor does.

Permuted segments give permuted tokens only if no token spans a border. So a separator, which a copy
of the tokenizer knows as a special token of its own, is put at every border; the processor expands
pictures as ever; then the separators are found among the ids and taken out again. Tokenizers that
put a blank before every text they are given put one at the start of every piece.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tokenizers import AddedToken
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.segments import SEPARATOR, Groups, is_marked, split

__all__ = [
    "MEDIUM",
    "SeparatingReader",
    "borders_of",
    "in_tokens",
    "joined",
    "located",
    "separated",
]

MEDIUM = "\ufffc"
"""Stands for a picture or video in the content of a turn."""


@dataclass(frozen=True)
class SeparatingReader:
    """Copies of a model's tokenizer and processor that cut texts at the separator.

    Attributes:
        tokenizer: the tokenizer; the processor's own, if there is one.
        processor: None for a text model.
        id: the separator's token id, of which the model knows nothing.
    """

    tokenizer: Any
    processor: Any | None
    id: int

    @classmethod
    def of(cls, tokenizer: Any, processor: Any | None) -> SeparatingReader:
        """Copy, and teach the copies the separator."""
        processor = copy.deepcopy(processor)
        tokenizer = copy.deepcopy(tokenizer) if processor is None else processor.tokenizer
        plain = AddedToken(SEPARATOR, lstrip=False, rstrip=False, normalized=False, special=True)
        tokenizer.add_tokens([plain], special_tokens=True)
        return cls(tokenizer, processor, tokenizer.convert_tokens_to_ids(SEPARATOR))


def borders_of(groups: Groups) -> list[int]:
    """Return the places where segments start or stop, in order, each once."""
    return sorted({place for group in groups for span in group for place in span})


def separated(text: str, borders: Sequence[int]) -> str:
    """Return a text with a separator at every border."""
    ends = [0, *borders, len(text)]
    return SEPARATOR.join(text[a:b] for a, b in pairwise(ends))


def joined(
    inputs: Mapping[str, Any], separator: int, padding: int
) -> tuple[dict[str, Any], list[list[int]]]:
    """Take the separators out of a batch, and pad it on the left anew.

    Args:
        inputs: ``input_ids [B, L]``, ``attention_mask [B, L]`` and what belongs to them. What has
            this shape is one value a token.
        separator: id of the separator.
        padding: id of the padding token; other values are padded by 0.

    Returns:
        The inputs, and for each row where its separators were, in tokens from its first real one.
    """
    ids: Tensor = inputs["input_ids"]
    real = inputs["attention_mask"].bool()
    kept = real & (ids != separator)
    width = int(kept.sum(dim=1).max())
    made = dict(inputs)
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.shape == ids.shape:
            rows = value.new_full((len(ids), width), padding if name == "input_ids" else 0)
            for row, old, keep in zip(rows, value, kept, strict=True):
                count = int(keep.sum())
                row[width - count :] = old[keep]
            made[name] = rows
    places = [
        row_kept.cumsum(dim=0)[row_real & ~row_kept].tolist()
        for row_real, row_kept in zip(real, kept, strict=True)
    ]
    return made, places


def in_tokens(groups: Groups, places: Sequence[int], key: str) -> Groups:
    """Return segments in tokens, given where the separators at their borders were.

    Raises:
        UserError: the processor has lost a separator, or makes no token of a segment.
    """
    borders = borders_of(groups)
    if len(places) != len(borders) or len(set(places)) < len(places):
        raise UserError(
            f"{key}: the model's processor does not keep the segments of this prompt apart; use "
            "another model, or interventions that read no segments"
        )
    token = dict(zip(borders, places, strict=True))
    return tuple(tuple((token[a], token[b]) for a, b in group) for group in groups)


def located(rendered: str, content: str, key: str) -> tuple[str, Groups]:
    """Return a rendered prompt without markers, and where its segments are, in characters.

    Args:
        rendered: the prompt, with the markers that the turn's content had.
        content: the turn, with :data:`MEDIUM` for each picture and video.
        key: the document, for errors.

    Raises:
        UserError: markers not in pairs; a template that repeats or drops the turn or moves pictures
            out of segments; several segments of which no two touch, which have no order.
    """
    if not (is_marked(content) or is_marked(rendered)):
        return rendered, ()
    try:
        plain, written = split(content)
        wanted = [plain[start:stop] for group in written for start, stop in group]
        text, groups = split(rendered)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    spans = [span for group in groups for span in group]
    if len(spans) != len(wanted):
        raise UserError(
            f"{key}: the chat template writes {len(spans)} of the {len(wanted)} segments of the "
            "user's turn; use another chat template"
        )
    for (start, stop), segment in zip(spans, wanted, strict=True):
        words = segment.replace(MEDIUM, "")
        if words != segment and text[start:stop].split() == words.split():
            raise UserError(
                f"{key}: the segment {words[:40]!r} has a picture, which the prompt shows "
                "elsewhere; use a chat template that keeps pictures in their places"
            )
    if len(spans) > 1 and len(groups) == len(spans):
        raise UserError(
            f"{key}: there is text between all {len(spans)} segments, and so they have no order "
            "to be free of; let each end where the next begins, line ends included"
        )
    return text, groups

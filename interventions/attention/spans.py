"""Sets of tokens by what they are: ``image``, ``question|image``, ``!system``, ``segment2``.

A span is a record that is resolved against a :class:`~.layout.Layout`. Spans grow with the text:
``generated`` is all of the answer so far.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.attention.layout import Layout, Role

__all__ = [
    "ALL",
    "BOS",
    "GENERATED",
    "IMAGE",
    "LAST",
    "NAMES",
    "PREDICTING",
    "PROMPT",
    "QUESTION",
    "SEGMENTS",
    "SYSTEM",
    "TAIL",
    "TURN",
    "Span",
    "parse_span",
    "segment",
    "tokens",
]


@dataclass(frozen=True)
class Span:
    """A set of tokens.

    Attributes:
        kind: how it is made: a name of :data:`NAMES`, or ``segment``, ``tokens``, ``or``, ``and``,
            ``not``.
        numbers: of a segment (group, index), or of a range of tokens (first, last).
        of: the spans it is made of.
    """

    kind: str
    numbers: tuple[int, int] = (0, 0)
    of: tuple[Span, ...] = ()

    def resolve(self, layout: Layout) -> Tensor:
        """Return which columns are in the span, ``[R, N]`` bool. Padding never is."""
        return self._columns(layout) & layout.real

    def _columns(self, layout: Layout) -> Tensor:
        roles = layout.roles
        if self.kind in _ROLES:
            return roles == _ROLES[self.kind]
        if self.kind == "or":
            return reduce(torch.logical_or, (span._columns(layout) for span in self.of))
        if self.kind == "and":
            return reduce(torch.logical_and, (span._columns(layout) for span in self.of))
        if self.kind == "not":
            return ~self.of[0]._columns(layout)
        if self.kind == "segment":
            return layout.segment(*self.numbers)
        if self.kind == "segments":
            return layout.segments > 0
        if self.kind == "prompt":
            return roles != Role.GENERATED
        index = layout.real.long().cumsum(dim=1) - 1  # of each token in its row
        if self.kind == "tokens":
            return (index >= self.numbers[0]) & (index <= self.numbers[1])
        if self.kind == "bos":
            return index == 0
        if self.kind == "question":
            image = roles == Role.IMAGE
            later = image.flip(1).long().cumsum(dim=1).flip(1) == 0
            return (roles == Role.TURN) & later
        last = torch.zeros_like(layout.real)
        last[:, layout.prompt_end - 1] = True
        return last if self.kind == "last" else last | layout.generated | (self.kind == "all")

    def __or__(self, other: Span) -> Span:
        return Span("or", of=(self, other))

    def __and__(self, other: Span) -> Span:
        return Span("and", of=(self, other))

    def __invert__(self) -> Span:
        return Span("not", of=(self,))

    def __str__(self) -> str:
        if self.kind == "segment":
            group, index = self.numbers
            return f"segment{index}" if group == 1 else f"segment{group}.{index}"
        if self.kind == "tokens":
            first, last = self.numbers
            return f"{first}" if first == last else f"{first}-{last}"
        if self.kind == "not":
            return f"!{self.of[0]}"
        if self.of:
            return {"or": "|", "and": "&"}[self.kind].join(map(str, self.of))
        return self.kind

    @property
    def reads_segments(self) -> bool:
        """Whether the span is of declared segments."""
        return self.kind in ("segment", "segments") or any(it.reads_segments for it in self.of)


_ROLES = {
    "system": Role.SYSTEM,
    "turn": Role.TURN,
    "image": Role.IMAGE,
    "tail": Role.TAIL,
    "generated": Role.GENERATED,
}

ALL = Span("all")
BOS = Span("bos")
"""The first token of each row."""
SYSTEM = Span("system")
TURN = Span("turn")
IMAGE = Span("image")
QUESTION = Span("question")
"""The user's words after the last picture."""
TAIL = Span("tail")
PROMPT = Span("prompt")
GENERATED = Span("generated")
LAST = Span("last")
"""The prompt's last token."""
PREDICTING = Span("predicting")
"""The tokens that predict the answer: the prompt's last one, and the answer itself."""
SEGMENTS = Span("segments")

NAMES = {
    span.kind: span
    for span in (
        *(ALL, BOS, SYSTEM, TURN, IMAGE, QUESTION, TAIL),
        *(PROMPT, GENERATED, LAST, PREDICTING, SEGMENTS),
    )
}
"""The spans that have a name."""


def segment(index: int, group: int = 1) -> Span:
    """Return one declared segment, counted from 1."""
    return Span("segment", (group, index))


def tokens(first: int, last: int) -> Span:
    """Return the tokens ``first`` to ``last`` of a row, counted from 0, both ends included."""
    return Span("tokens", (first, last))


_SEGMENT = re.compile(r"segment(?:(\d+)\.)?(\d+)")
_TOKENS = re.compile(r"(\d+)(?:-(\d+))?")


def parse_span(method: str, parameter: str, text: str) -> Span:
    """Return the span that a text names: ``image``, ``a|b``, ``a&b``, ``!a``, ``segment2``.

    A range such as ``3-9`` counts tokens from 0, both ends included. ``!`` binds strongest, ``|``
    weakest. ``segment2.1`` is the first segment of the second group.

    Raises:
        UserError: the text is not of this form.
    """

    def atom(word: str) -> Span:
        if word.startswith("!"):
            return ~atom(word[1:])
        if word in NAMES:
            return NAMES[word]
        if match := _SEGMENT.fullmatch(word):
            return segment(int(match[2]), int(match[1] or 1))
        match = _TOKENS.fullmatch(word)
        if match and int(match[1]) <= int(match[2] or match[1]):
            return tokens(int(match[1]), int(match[2] or match[1]))
        raise UserError(
            f"intervention {method}: {parameter}={text} names tokens by {', '.join(NAMES)}, "
            "segment2, or a range such as 5-20, joined by |, & and !"
        )

    def joined(parts: list[Span], kind: str) -> Span:
        return parts[0] if len(parts) == 1 else Span(kind, of=tuple(parts))

    return joined(
        [joined([atom(it.strip()) for it in part.split("&")], "and") for part in text.split("|")],
        "or",
    )

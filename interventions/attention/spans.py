"""Sets of tokens by what they are: ``image``, ``question|image``, ``!system``, ``segment2``.

A span is a record that is resolved against a :class:`~.layout.Layout`. Spans grow with the text:
``generated`` is all of the answer so far.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmms_causal.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from lmms_causal.interventions.attention.layout import Layout

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
    "sentence",
    "tokens",
]


@dataclass(frozen=True)
class Span:
    """A set of tokens.

    Attributes:
        kind: how it is made: a name of :data:`NAMES`, or ``segment``, ``sentences``, ``tokens``,
            ``or``, ``and``, ``not``.
        numbers: of a segment (group, index), of a range of tokens or sentences (first, last).
        of: the spans it is made of.
    """

    kind: str
    numbers: tuple[int, int] = (0, 0)
    of: tuple[Span, ...] = ()

    def resolve(self, layout: Layout) -> Tensor:
        """Return which columns are in the span, ``[R, N]`` bool. Padding never is."""
        # spans are named in specs, which are read where torch is not wanted yet
        from lmms_causal.interventions.attention.columns import columns

        return columns(self, layout) & layout.real

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
        if self.kind in ("tokens", "sentences"):
            first, last = self.numbers
            named = "sentence" if self.kind == "sentences" else ""
            return f"{named}{first}" if first == last else f"{named}{first}-{last}"
        if self.kind == "not":
            return f"!{self.of[0]}"
        if self.of:
            return {"or": "|", "and": "&"}[self.kind].join(map(str, self.of))
        return self.kind

    @property
    def reads_segments(self) -> bool:
        """Whether the span is of declared segments."""
        return self.kind in ("segment", "segments") or any(it.reads_segments for it in self.of)

    @property
    def names_answer(self) -> bool:
        """Whether the span depends on where the prompt ends and the answer begins."""
        names = ("prompt", "generated", "last", "predicting", "tail", "turn", "question")
        return self.kind in names or any(it.names_answer for it in self.of)

    @property
    def reads_sentences(self) -> bool:
        """Whether the span is of sentences of the user's turn."""
        return self.kind == "sentences" or any(it.reads_sentences for it in self.of)


ALL = Span("all")
BOS = Span("bos")
"""The first token of each row."""
SYSTEM = Span("system")
TURN = Span("turn")
IMAGE = Span("image")
QUESTION = Span("question")
"""The user's turn after the last picture, with what the template writes between both."""
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


def sentence(first: int, last: int | None = None) -> Span:
    """Return sentences of the user's last turn, counted from 1, both ends included."""
    return Span("sentences", (first, first if last is None else last))


def tokens(first: int, last: int) -> Span:
    """Return the tokens ``first`` to ``last`` of a row, counted from 0, both ends included."""
    return Span("tokens", (first, last))


_SEGMENT = re.compile(r"segment(?:(\d+)\.)?(\d+)")
_SENTENCES = re.compile(r"sentence(\d+)(?:-(\d+))?")
_TOKENS = re.compile(r"(\d+)(?:-(\d+))?")


def parse_span(method: str, parameter: str, text: str) -> Span:
    """Return the span that a text names: ``image``, ``a|b``, ``a&b``, ``!a``, ``segment2``.

    A range such as ``3-9`` counts tokens from 0, both ends included. ``!`` binds strongest, ``|``
    weakest. ``segment2.1`` is the first segment of the second group, and ``sentence3-4`` are
    sentences of the user's last turn, counted from 1.

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
        match = _SENTENCES.fullmatch(word)
        if match and 1 <= int(match[1]) <= int(match[2] or match[1]):
            return sentence(int(match[1]), int(match[2] or match[1]))
        match = _TOKENS.fullmatch(word)
        if match and int(match[1]) <= int(match[2] or match[1]):
            return tokens(int(match[1]), int(match[2] or match[1]))
        raise UserError(
            f"intervention {method}: {parameter}={text} names tokens by {', '.join(NAMES)}, "
            "segment2, sentence3, or a range such as 5-20, joined by |, & and !"
        )

    def joined(parts: list[Span], kind: str) -> Span:
        return parts[0] if len(parts) == 1 else Span(kind, of=tuple(parts))

    return joined(
        [joined([atom(it.strip()) for it in part.split("&")], "and") for part in text.split("|")],
        "or",
    )

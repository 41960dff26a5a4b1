"""Where in a long response its final answer stands, and whether there is exactly one.

Nothing is guessed: a response that hedges, rejects, asks or gives two final answers has none that a
rule may decide on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.normalising import nfkc

__all__ = ["final_answer", "normalise", "visible"]

LONGEST = 20_000
"""Characters of a response that are looked at, from its end."""
BOXES = 20
"""Boxes that are compared, the last ones."""

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_CUE = re.compile(
    r"\b(?:(?:final|correct|my)\s+)*answer\s*(?:\bis\b\s*:?|\bwould\s+be\b|[:=])|(?:答案|结果)\s*(?:是|为|[:=])",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"\b(?:or|either|neither|nor|maybe|perhaps|possibly|alternatively|might|could|may|not|no|none|"
    r"cannot|unable|unsure|unclear|sorry|wait|instead|versus|vs)\b|n't\b|n’t\b|\?|"
    r"或|还是|可能|也许|不|无法|没有",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!;。]\s|\n")
_STEPS = {"up", "down", "left", "right", "front", "back", "north", "south", "east", "west"}
_MARKUP = re.compile(r"\*\*|__|`|\$|\\(?:text\w*|math\w*|left|right|quad|,|;|!)")
_EDGES = " \t\r\n.,;:!*_`\"'。，；：！"


def final_answer(text: str) -> str | None:
    r"""The one segment of the text that states the final answer; None if there is none, or doubt.

    Reasoning blocks are removed. Then the first of these that occurs is the segment: what
    ``\boxed{}`` encloses; a fenced block; what follows "answer is" or "answer:"; the last line that
    is not empty. There is doubt if

    * two boxes, two fenced blocks or two such answers differ, or the line before the last one looks
      like it and says something else;
    * segment, or what follows it, holds a word of doubt, rejection or choice, or a question mark;
    * text follows a box or a block.

    >>> final_answer(r"3 + 4 gives \boxed{7}.")
    '7'
    >>> final_answer("The answer is 6 or 7.") is None
    True
    """
    segment = _segment(visible(strip_reasoning(text)[-LONGEST:]).strip())
    if segment is None or _UNDECIDED.search(segment):
        return None
    return _MARKUP.sub("", segment).strip(_EDGES) or None


def visible(text: str) -> str:
    """The text in plain characters: full-width forms narrowed, invisible ones left out."""
    plain = nfkc(text).replace("−", "-")
    return "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")


def normalise(text: str) -> str:
    """Case, blanks, markup and outer punctuation removed: two texts alike in this are the same."""
    return " ".join(_MARKUP.sub("", visible(text)).casefold().split()).strip(_EDGES)


def _segment(text: str) -> str | None:
    boxes = list(_boxed(text))
    if boxes:
        return _only([content for content, _, _ in boxes], text, boxes[0][1], boxes[-1][2])
    fences = list(_FENCE.finditer(text))
    if fences:
        contents = [fence[1] for fence in fences]
        return _only(contents, text, fences[0].start(), fences[-1].end())
    cues = list(_CUE.finditer(text))
    if cues:
        answers = {normalise(_SENTENCE.split(text[cue.end() :].strip())[0]) for cue in cues}
        return text[cues[-1].end() :].strip() if len(answers) == 1 else None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or (len(lines) > 1 and _rivals(lines[-2], lines[-1])):
        return None
    return lines[-1]


def _rivals(previous: str, last: str) -> bool:
    """Whether the line before the last one states another answer, or announces a choice.

    It does if both have the same shape: ``6`` and ``7``, or ``It is 6.`` and ``It is 7.``.
    """
    if re.search(r"(?:\b(?:or|either|alternatively)|或)\W*$", previous, re.IGNORECASE):
        return True
    return normalise(previous) != normalise(last) and _shape(previous) == _shape(last)


def _shape(line: str) -> list[str]:
    """The words of a line, with one sign for numbers and one for letters and directions."""
    words = [
        "#" if word.isdecimal() else "@" if len(word) == 1 or word in _STEPS else word
        for word in re.findall(r"\d+|[^\W\d_]+", line.casefold())
    ]
    return [word for word, before in zip(words, ["", *words], strict=False) if word != before]


def _only(contents: list[str], text: str, start: int, end: int) -> str | None:
    """The content, if all are the same and what stands around them does not take it back."""
    line = text[:start].rsplit("\n", 1)[-1]
    after = text[end:].strip(_EDGES + "$)\\")
    if len({normalise(content) for content in contents}) > 1 or after:
        return None
    return (
        None if re.search(r"\b(?:or|either|not)\b|n't\b|或", line, re.IGNORECASE) else contents[-1]
    )


def _boxed(text: str) -> Iterator[tuple[str, int, int]]:
    r"""Content, start and end of each ``\boxed{...}`` whose braces close."""
    for match in list(re.finditer(r"\\f?boxed\s*\{", text))[-BOXES:]:
        depth = 1
        for place in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                yield text[match.end() : place], match.start(), place + 1
                break

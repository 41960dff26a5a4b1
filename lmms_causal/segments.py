"""Segments of a prompt: adjacent texts whose order shall not matter, such as listed options.

A task declares them in a document's field ``segments``, or marks them in the prompt's text with the
private-use characters defined here, which our model wrappers take out again before a model reads
it. Segments that touch form a group. This module knows texts only, and no document: its errors are
completed by who does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lmms_causal.errors import UserError

__all__ = [
    "CLOSE",
    "OPEN",
    "SEPARATOR",
    "Groups",
    "Span",
    "compiled",
    "declared",
    "find",
    "is_marked",
    "mark",
    "marked",
    "matches",
    "split",
    "strip",
    "texts_of",
]

OPEN = "\U000f5e60"
"""Stands before a segment. It and the next two are from a plane that no script is in."""

CLOSE = "\U000f5e61"
"""Stands behind a segment."""

SEPARATOR = "\U000f5e62"
"""What tokenizers are taught to cut at; never in a text that leaves this package."""

Span = tuple[int, int]
"""``[start, stop)``, in characters or in tokens."""

Groups = tuple[tuple[Span, ...], ...]
"""Groups of segments; within a group each segment starts where the one before it stops."""

_MARKS = re.compile(f"[{OPEN}{CLOSE}{SEPARATOR}]")


def mark(segments: Sequence[str]) -> str:
    """Return the segments one behind the other, each in its pair of markers."""
    return "".join(f"{OPEN}{segment}{CLOSE}" for segment in segments)


def is_marked(text: str) -> bool:
    """Whether there is a marker in a text."""
    return _MARKS.search(text) is not None


def strip(text: str) -> str:
    """Return a text without markers, which is what a model reads."""
    return _MARKS.sub("", text)


def split(text: str) -> tuple[str, Groups]:
    """Return a text without markers, and where its segments are in it, in characters.

    Raises:
        UserError: markers that are not in pairs, or with nothing in between.
    """
    groups: list[list[Span]] = []
    start: int | None = None
    for count, marker in enumerate(_MARKS.finditer(text)):
        place = marker.start() - count
        if marker.group() == SEPARATOR:
            continue
        if marker.group() == OPEN and start is None:
            start = place
        elif marker.group() == CLOSE and start is not None and start < place:
            if groups and groups[-1][-1][1] == start:
                groups[-1].append((start, place))
            else:
                groups.append([(start, place)])
            start = None
        else:
            raise UserError(
                f"the segment markers at {strip(text)[max(0, place - 30) : place + 10]!r} are not "
                "in pairs around some text; write them with lmms_causal.segments.mark"
            )
    if start is not None:
        raise UserError(
            f"the segment {strip(text)[start:][:40]!r} is not closed; write markers "
            "with lmms_causal.segments.mark"
        )
    return strip(text), tuple(tuple(group) for group in groups)


def marked(text: str, groups: Groups) -> str:
    """Return a text with markers around its segments; the inverse of :func:`split`."""
    made, done = [], 0
    for start, stop in sorted(span for group in groups for span in group):
        made += [text[done:start], mark([text[start:stop]])]
        done = stop
    return "".join([*made, text[done:]])


def texts_of(text: str, groups: Groups) -> tuple[tuple[str, ...], ...]:
    """Return the segments themselves."""
    return tuple(tuple(text[start:stop] for start, stop in group) for group in groups)


def find(text: str, segments: Sequence[str]) -> tuple[tuple[Span, ...], ...]:
    """Return every place of a group in a text, where its segments follow each other directly."""
    whole = "".join(segments)
    places = []
    place = text.find(whole) if whole else -1
    while place >= 0:
        spans, start = [], place
        for segment in segments:
            spans.append((start, start + len(segment)))
            start += len(segment)
        places.append(tuple(spans))
        place = text.find(whole, place + 1)
    return tuple(places)


def matches(text: str, pattern: re.Pattern[str]) -> Groups:
    """Return the matches of a pattern as segments; those that touch are a group."""
    spans = [match.span() for match in pattern.finditer(text) if match.group()]
    return split(marked(text, (tuple(spans),)))[1]


def compiled(pattern: Any) -> re.Pattern[str]:
    """Return the argument ``segment_regex``, in which ``^`` and ``$`` are ends of a line.

    Raises:
        UserError: it is no regular expression.
    """
    try:
        return re.compile(str(pattern), re.MULTILINE)
    except re.error as error:
        raise UserError(
            f"segment_regex={pattern} is no regular expression: {error}; see Python's re"
        ) from None


def declared(value: Any) -> tuple[tuple[str, ...], ...]:
    """Read a document's field ``segments``: a list of texts, or for several groups a list of lists.

    Raises:
        UserError: it is something else, or has an empty text.
    """
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    groups: list[Any] = list(value) if listed else [None]
    if groups and all(isinstance(text, str) for text in groups):
        groups = [groups]
    for group in groups:
        if (
            not isinstance(group, Sequence)
            or isinstance(group, str)
            or not group
            or not all(isinstance(text, str) and text for text in group)
        ):
            raise UserError(
                f"the field segments is {str(value)[:60]!r}; it must be a list of texts, or of "
                "lists of texts, none of them empty"
            )
    return tuple(tuple(strip(text) for text in group) for group in groups)

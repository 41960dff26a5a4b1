"""From a model's text to an order of n clips: by the authors' rule, and strictly.

The authors' rule (repository pritamqu/VCRBench, commit 5d616a39, ``process.py``; arXiv 2505.08455)
takes the first piece of the text that holds a permutation between its commas, wherever it stands.
The strict rule reads what is stated as the order, in any notation, and refuses two statements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lmms_causal.tasks.choices import strip_reasoning

__all__ = ["parse_official", "parse_order"]

Order = tuple[int, ...]

_PIECE_ENDS = re.compile(r"(?<=[.!?])\s+|\n+")
_DIGITS = re.compile(r"\d+")
_MOST_DIGITS = 4000
"""Python refuses to read numbers of more than 4,300 digits."""

_STATED = re.compile(
    r"\b(?:correct|right|proper|final|best)\s+(?:order|sequence|answer|arrangement)"
    r"(?:\s+(?:of|for)\s+(?:the\s+|these\s+)?(?:clips|steps|segments))?"
    r"(?:\s*:|\s+(?:is|would be|should be|must be)\b)|<answer>|\\boxed",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\([^()\d]*\)")
_CLIP = r"(?:clips?|steps?|segments?|parts?|numbers?|no)(?![^\W\d_])"
_TOKENS = re.compile(
    rf"""
      (?P<number>\d+)
    | (?P<between>[\s,;/&|<>()\[\]{{}}"'`#→⟶➔➜–—=-]
        | {_CLIP}
        | (?:and|then|next|finally|followed\s+by)(?![^\W\d_]))
    | (?P<not>(?:not|instead\s+of|rather\s+than)(?![^\W\d_]))
    | [^\W\d_]+ | .
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NEW_CLAUSE = {".", "!", "?", ":", "but"}
_COUNTED = re.compile(rf"(?:step\s*)?(\d+)\s*[.):]\s*{_CLIP}\s*#?\s*(\d+)(?!\d)", re.IGNORECASE)
_LISTED = re.compile(rf"[-•]?\s*(?:{_CLIP}\s*#?\s*(\d+)(?!\d)|(\d+)$)", re.IGNORECASE)


def parse_official(text: str, n: int) -> Order | None:
    """The order that the authors' ``process.py`` reads, and None where it fills in zeros.

    Asterisks are deleted; the text is cut after ``.``, ``!`` or ``?`` and at line breaks; the first
    piece counts that has exactly n numbers, the first of each comma-separated field, and these are
    1 to n. Their list of lead-in phrases has no effect: the first phrase is empty and always found.

    >>> parse_official("Clip 2 is first. Correct order: Clip 2, Clip 3, Clip 1", 3)
    (2, 3, 1)
    """
    for piece in _PIECE_ENDS.split(text.replace("*", "")):
        numbers = (_DIGITS.search(field) for field in piece.split(","))
        if order := _order((number[0] for number in numbers if number), n):
            return order
    return None


def parse_order(text: str, n: int) -> Order | None:
    """The one order that the text states; None if it states none, or more than one.

    Reasoning blocks do not count, and a text with more than 50 states nothing. If something is
    called the correct or final order or answer, what stands before does not count either. Then
    these are statements of an order:

    1. n numbers in one line, each of 1 to n once, with nothing between them but commas, arrows,
       brackets, "Clip", "then" and the like; not after "not", "instead of" or "rather than";
    2. n lines "1. Clip 3", "2. Clip 1", ... in which the counting goes from 1 to n;
    3. if there are none of these, and something was called the order: n lines that start with
       "Clip 3", or hold a number alone.

    >>> parse_order("Clips 1, 2 and 3 are shuffled. Correct order: 3 -> 1 -> 2", 3)
    (3, 1, 2)
    >>> parse_order("Correct order: 3, 1, 2 (or 1, 3, 2)", 3) is None
    True
    """
    text = strip_reasoning(text).replace("*", "").replace("，", ",").replace("、", ",")
    stated = _STATED.search(text)
    if stated:
        text = text[stated.end() :]
    lines = [" ".join(line.split()) for line in _ASIDE.sub(" ", text).splitlines()]
    lines = [line for line in lines if line]
    found = {order for line in lines for order in _in_a_line(line, n)}
    found.update(_counted(lines, n))
    if not found and stated:
        found.update(_listed(lines, n))
    return found.pop() if len(found) == 1 else None


def _order(numbers: Iterable[str], n: int) -> Order | None:
    """The numbers, if they are n and the numbers from 1 to n."""
    order: list[int] = []
    for number in numbers:
        if len(number) > _MOST_DIGITS or len(order) == n:
            return None
        order.append(int(number))
    return tuple(order) if sorted(order) == list(range(1, n + 1)) else None


def _in_a_line(line: str, n: int) -> Iterator[Order]:
    numbers: list[str] = []
    rejected = False
    for token in _TOKENS.finditer(line):
        if token["number"]:
            numbers.append(token["number"])
        elif not token["between"]:
            if (order := _order(numbers, n)) and not rejected:
                yield order
            if token["not"]:
                rejected = True
            elif numbers or token[0].lower() in _NEW_CLAUSE:
                rejected = False
            numbers = []
    if (order := _order(numbers, n)) and not rejected:
        yield order


def _counted(lines: list[str], n: int) -> Iterator[Order]:
    matches = [_COUNTED.match(line) for line in lines]
    for start in range(len(lines) - n + 1):
        part = [match.groups() for match in matches[start : start + n] if match]
        counts_up = _order((count for count, _ in part), n) == tuple(range(1, n + 1))
        if counts_up and (order := _order((clip for _, clip in part), n)):
            yield order


def _listed(lines: list[str], n: int) -> Iterator[Order]:
    matches = [_LISTED.match(line) for line in lines]
    for start in range(len(lines) - n + 1):
        part = [match[1] or match[2] for match in matches[start : start + n] if match]
        if order := _order(part, n):
            yield order

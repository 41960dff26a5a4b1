"""How two long answers begin: enough of each to tell which one a model sets out to repeat.

Asked to repeat the better of two texts, a model shows its choice where they part; scoring all of
a long text would only add how well it copies, and favour the shorter one.
"""

from __future__ import annotations

import re

__all__ = ["WORDS", "openings"]

WORDS = 8
"""Words that are scored from the first one in which the answers differ."""

_WORD = re.compile(r"\s*\S+")


def openings(first: str, second: str, words: int = WORDS) -> tuple[str, str]:
    """The beginnings of two texts, as far as ``words`` words from where they part.

    Leading blanks are dropped. A text that ends earlier is taken whole; if it is how the other one
    begins, that one is cut ``words`` words later.

    >>> openings("It is a dog that barks.", "It is a cat.", words=2)
    ('It is a dog that', 'It is a cat.')
    """
    ones, others = (_WORD.findall(text.strip()) for text in (first, second))
    common = 0
    for one, other in zip(ones, others, strict=False):
        if one != other:
            break
        common += 1
    return "".join(ones[: common + words]), "".join(others[: common + words])

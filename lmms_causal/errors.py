"""The one exception that a user's mistake raises, and the hint that goes into it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "nearest"]


class UserError(ValueError):
    """Bad input of a user: a misspelt name, a missing file, an argument out of range.

    The message is one line that names the offending input and says what to do. Our command line
    prints it without a traceback and exits with code 2.
    """


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known word, or an empty string.

    ``cutoff`` in 0..1 says how alike the two must be (1: the same letters).
    """
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=cutoff)
    return f" (did you mean {close[0]!r}?)" if close else ""

"""Unicode's compatibility form (NFKC) of what a model wrote, in linear time."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["nfkc"]

# Combining marks are neither letters nor blanks and begin at U+0300; the two halfwidth marks of
# katakana become ones.
_MAY_COMBINE = re.compile(r"(?:[^\w\s\x00-\u02ff]|[\uff9e\uff9f]){31,}")
_MARKS_KEPT = 30


def nfkc(text: str) -> str:
    """The text in NFKC, of more than 30 combining marks in a row only the first 30.

    Marks are put into canonical order by exchanging neighbours, so that a megabyte of them would
    take hours. 30 is the limit of Unicode's Stream-Safe Text Format (UAX #15), which no writing
    system reaches.
    """
    return unicodedata.normalize("NFKC", _MAY_COMBINE.sub(_with_fewer_marks, text))


def _with_fewer_marks(run: re.Match[str]) -> str:
    kept, marks = [], 0
    for sign in run[0]:
        combines = unicodedata.combining(sign) or sign in "\uff9e\uff9f"
        marks = marks + 1 if combines else 0
        if marks <= _MARKS_KEPT:
            kept.append(sign)
    return "".join(kept)

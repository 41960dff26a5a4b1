"""From a model's text to what is compared: one line, its words, a number, a list of events.

All of it is linear in the length of the text: a reasoning model may write a megabyte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lmms_causal.tasks.normalising import nfkc

__all__ = ["clean", "events", "is_nothing", "number", "rooted", "words"]

_TAG = re.compile(r"<(/?)\s*think(?:ing)?\s*>", re.IGNORECASE)
_INVISIBLE = re.compile("[\u200b\u200c\u200d\ufeff]")
_LABEL = re.compile(
    r"^[\s*_>#-]{0,16}(?:final\s{1,4})?answer\s{0,4}[*_]{0,4}\s{0,4}[:-][\s*_]{0,8}"
)
_EDGES = ".,;:!?\"'()[]{}<>*_`\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\
\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
_ARTICLES = {"the", "a", "an"}
_NOTHING = {
    *("none", "nothing", "n/a", "no events", "no prior event", "no prior events"),
    *("no consequence", "no consequences", "no direct consequence", "no further consequence"),
    *("no subsequent consequence", "no previous events", "nothing happened before"),
}
_NUMBERS = {
    **{"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"},
    **{"seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12"},
}
_LARGER = {
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
    *("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "dozen", "hundred"),
}
_NOT = {"not", "isn't", "aren't", "no", "none", "or"}
_SEPARATOR = re.compile(
    r",?[ ](?:then[ ])?which[ ](?:led|leads|leading)[ ]to[ ](?:then[ ])?"
    r"|,[ ]then[ ]|,[ ]and[ ]|;[ ]|[ ]?(?:->|\N{RIGHTWARDS ARROW})[ ]?|,"
)


def clean(text: str) -> str:
    """The line that counts: without reasoning, the first that is not blank, without a label.

    >>> clean("<think>the cat?</think>\\n**Answer:** The dog")
    'the dog'
    """
    text = _INVISIBLE.sub("", nfkc(text))
    for line in _without_reasoning(text).splitlines():
        if stripped := line.strip():
            lowered = " ".join(stripped.lower().split())
            return _LABEL.sub("", lowered).strip()
    return ""


def _without_reasoning(text: str) -> str:
    """Closed blocks go, then what precedes a lone end tag, then what follows a lone start tag."""
    kept: list[str] = []
    position, opened = 0, -1
    for tag in _TAG.finditer(text):
        if not tag[1]:
            opened = tag.start() if opened < 0 else opened
            continue
        if opened >= 0:
            kept.append(text[position:opened])
        else:
            kept.clear()
        position, opened = tag.end(), -1
    kept.append(text[position:] if opened < 0 else text[position:opened])
    return "".join(kept)


def words(text: str) -> list[str]:
    """Words of a lower-case text in order, without articles and punctuation at their edges.

    >>> words("the lane-split, past it.")
    ['lane-split', 'past', 'it']
    """
    plain = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    stripped = (word.strip(_EDGES) for word in plain.split())
    return [word for word in stripped if word and word not in _ARTICLES]


def rooted(text: str, forms: Mapping[str, str]) -> list[str]:
    """`words` with every form of a verb of the sentence replaced by its base."""
    plain = text.replace("doing a wheelie", "wheelie")  # how some references inflect "wheelie"
    return [forms.get(word, word) for word in words(plain)]


def number(text: str) -> str | None:
    """The one number in the text, in digits; None without one, with two, or with a "not" or "or".

    >>> number("four entities"), number("4 or 5"), number("twenty-four")
    ('4', None, None)
    """
    found = []
    for word in words(text):
        if word in _NUMBERS:
            found.append(_NUMBERS[word])
        elif word.isascii() and word.isdigit():
            found.append(word.lstrip("0") or "0")
        elif word in _NOT | _LARGER or re.search(r"\d", word):
            return None  # also "4th", "4.5"
        elif _NUMBERS.keys() & word.split("-"):
            return None  # "twenty-four", "four-five"
    return found[0] if len(found) == 1 else None


def is_nothing(text: str) -> bool:
    """Whether the text says that nothing happened, in one of a fixed list of ways."""
    return " ".join(filter(None, (word.strip(_EDGES) for word in text.split()))) in _NOTHING


def events(text: str, forms: Mapping[str, str]) -> Sequence[list[str]]:
    """The events of a chain in order of telling, each as by `rooted`."""
    return [found for part in _SEPARATOR.split(text) if (found := rooted(part, forms))]

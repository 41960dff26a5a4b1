"""The forms that answers of MME-CC take: from a short text to a value, or None if it is no such.

Each function reads the whole text. A word that it does not know makes it return None, so that a
sentence is not taken for the number or the letter that occurs in it.
"""

from __future__ import annotations

import re

__all__ = [
    "block_moves",
    "coordinates",
    "count",
    "direction",
    "frame",
    "labels",
    "moves",
    "numbers",
    "permutation",
]

_NUMBER_NAMES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
_NUMBER_WORDS = {word: number for number, word in enumerate(_NUMBER_NAMES)}
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s]|_")
_ARROW = re.compile(r"\s*(?:-+>|=+>|→|➔|⇒)\s*")


def count(text: str) -> int | None:
    """The one whole number of the text, in digits or as an English word.

    A text with two different numbers, or with a fraction, has no count.

    >>> count("There are 6 chairs.")
    6
    >>> count("6 chairs in 3 rooms") is None
    True
    """
    words = re.findall(r"-?\d[\d.,]*\d|-?\d|[^\W\d_]+", text.casefold())
    found: set[int | None] = set()
    for word in words:
        if word in _NUMBER_WORDS:
            found.add(_NUMBER_WORDS[word])
        elif word[-1].isdecimal():
            found.add(int(word) if re.fullmatch(r"-?[0-9]{1,9}", word) else None)
    return found.pop() if len(found) == 1 else None


def numbers(text: str) -> frozenset[int] | None:
    """The set of item numbers; None if the text says more than which items.

    >>> sorted(numbers("Questions 2, 5 and 9 are wrong."))
    [2, 5, 9]
    """
    known = "question questions item items number numbers problem problems answer answers "
    known += "wrong incorrect is are the and with q"
    found = set()
    for token in _tokens(text):
        if re.fullmatch(r"[0-9]{1,6}", token):
            found.add(int(token))
        elif token not in {*known.split(), *",;.:()[]{}&#、和第题"}:
            return None
    return frozenset(found) or None


def permutation(text: str) -> tuple[int, ...] | None:
    """A complete permutation of 0..n-1 or 1..n, n at least 3, as list or as ``piece -> place``.

    Pairs are sorted by their first number. Without arrows the numbers are taken in order.

    >>> permutation("3, 1, 4, 2")
    (3, 1, 4, 2)
    >>> permutation("2->1, 1->3, 3->2")
    (3, 1, 2)
    """
    known = "piece pieces place slot position tile order sequence the is goes to in"
    plain = _ARROW.sub(">", text)
    if any(
        token not in {*known.split(), *",;.:()[]{}<>|/-"} and not re.fullmatch(r"[0-9]{1,4}", token)
        for token in _tokens(plain)
    ):
        return None
    pairs = [
        (int(a), int(b)) for a, b in re.findall(r"(\d+)\s*>\s*(?:[a-z]+\s+)?(\d+)", plain, re.I)
    ]
    flat = [int(number) for number in re.findall(r"\d+", plain)]
    if pairs:
        if len(flat) != 2 * len(pairs) or not _complete([first for first, _ in pairs]):
            return None
        flat = [second for _, second in sorted(pairs)]
    return tuple(flat) if len(flat) >= 3 and _complete(flat) else None


def labels(text: str) -> tuple[str, ...] | None:
    """One to four capital letters, in order or as ``photo 1 -> C, photo 2 -> A``.

    >>> labels("photo 2 -> A, photo 1 -> C")
    ('C', 'A')
    """
    known = "photo image picture view point location position label is at the and answer was taken"
    letters: list[str] = []
    keys: list[int] = []
    for token in _TOKEN.findall(_ARROW.sub(":", text)):
        if re.fullmatch(r"[A-Z]", token):
            letters.append(token)
            if len(keys) not in (0, len(letters)):
                return None
        elif re.fullmatch(r"[1-9]", token):
            keys.append(int(token))
            if len(keys) != len(letters) + 1:
                return None
        elif token.casefold() not in {*known.split(), *",;.:()[]-#="}:
            return None
    if keys:
        if len(keys) != len(letters) or sorted(keys) != list(range(1, len(keys) + 1)):
            return None
        letters = [letter for _, letter in sorted(zip(keys, letters, strict=True))]
    return tuple(letters) if 1 <= len(letters) <= 4 else None


_COMPASS = {"north": "n", "south": "s", "east": "e", "west": "w"}
_COMPASS |= {"北": "n", "南": "s", "东": "e", "西": "w"}
_OWN = {"front": "f", "forward": "f", "ahead": "f", "back": "b", "behind": "b", "rear": "b"}
_OWN |= {"backward": "b", "left": "l", "right": "r", "前": "f", "后": "b", "左": "l", "右": "r"}
_OPPOSITES = ({"n", "s"}, {"e", "w"}, {"f", "b"}, {"l", "r"})


def direction(text: str) -> frozenset[str] | None:
    """One of eight directions of the compass, or of the observer, as the set of its parts.

    Parts are joined by nothing, a blank or a hyphen; anything else makes two directions of them.

    >>> sorted(direction("to the front-left"))
    ['f', 'l']
    >>> direction("left, right") is None
    True
    """
    plain = text.casefold().strip(" .,;:!\"'()[]")
    plain = re.sub(r"^(?:(?:it|the|object|is|direction|facing|to|in|on|at|my|your)\s+)+", "", plain)
    plain = re.sub(r"\s+(?:side|direction)$|[方侧面边]$", "", plain)
    parts = re.split(r"[\s-]+", plain)
    if len(parts) == 1:
        whole = parts[0]
        if whole in ("n", "s", "e", "w", "ne", "nw", "se", "sw"):
            return _joined(list(whole))
        names = "|".join({**_COMPASS, **_OWN})
        if re.fullmatch(f"(?:{names}){{1,2}}", whole):
            parts = re.findall(names, whole)
    known = {**_COMPASS, **_OWN}
    return (
        _joined([known[part] for part in parts]) if all(part in known for part in parts) else None
    )


def frame(value: frozenset[str]) -> str:
    """``compass`` or ``own``."""
    return "compass" if value <= set("nsew") else "own"


def _joined(parts: list[str]) -> frozenset[str] | None:
    """The parts as one direction; None for opposite, mixed, repeated or too many ones."""
    found = frozenset(parts)
    mixed = not (found <= set("nsew") or found <= set("fblr"))
    opposite = any(pair <= found for pair in _OPPOSITES)
    return None if mixed or opposite or len(found) != len(parts) or len(found) > 2 else found


_MOVES = {"u": "u", "up": "u", "d": "d", "down": "d", "l": "l", "left": "l", "r": "r"}
_MOVES |= {"right": "r", "↑": "u", "↓": "d", "←": "l", "→": "r"}
_MOVES |= {"上": "u", "下": "d", "左": "l", "右": "r"}


def moves(text: str) -> str | None:
    """A path of single steps as a string of ``udlr``.

    >>> moves("Right, right, D -> D -> R")
    'rrddr'
    """
    plain = re.sub(r"-+>|=+>", ",", text.casefold())
    if "," in plain or " " in plain.strip():
        # Between words an arrow is a separator, alone it is a step.
        plain = re.sub(r"(?<=[a-z])\s*→\s*(?=[a-z])", ",", plain)
    steps = ""
    for token in re.findall(r"[a-z]+|[^\s,;.|\[\](){}-]", plain):
        if token in _MOVES:
            steps += _MOVES[token]
        elif re.fullmatch(r"[udlr]+", token):
            steps += token
        else:
            return None
    return steps or None


def block_moves(text: str) -> tuple[str, ...] | None:
    """A list of moves such as ``B right 2; C up 1`` as words, without punctuation.

    >>> block_moves("B: right 2; C: up 1.") == block_moves("b right 2, c up 1")
    True
    """
    found = tuple(re.findall(r"[a-z]+|\d+|[↑↓←→]|[一-鿿]", _numbered(text).casefold()))
    return found if len(found) >= 2 else None


def coordinates(text: str) -> tuple[tuple[str, int], ...] | None:
    """Board points as ``(8, 9)`` or ``H8``, in order; None if anything else is said.

    >>> coordinates("(8, 9)") == coordinates("8,9")
    True
    """
    pattern = r"\(?\s*\b([0-9]{1,2})\s*,\s*([0-9]{1,2})\b\s*\)?|\b([A-Za-z])\s?([0-9]{1,2})\b"
    if re.sub(
        r"\b(?:and|point|points|position|move|play|at|the)\b|[\s,;.:\[\]]",
        "",
        re.sub(pattern, "", text),
    ):
        return None
    found = tuple(
        (first or letter.casefold(), int(second or number))
        for first, second, letter, number in re.findall(pattern, text)
    )
    return found or None


def _numbered(text: str) -> str:
    """The text without the numbers that count its lines."""
    return re.sub(r"(?m)^\s*\d+[.)]\s+", "", text)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.casefold())


def _complete(values: list[int]) -> bool:
    """Whether these are 0..n-1 or 1..n, each once."""
    low = min(values, default=0)
    return low in (0, 1) and sorted(values) == list(range(low, low + len(values)))

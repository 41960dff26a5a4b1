"""Sentences of a text, in characters and in tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmms_causal.errors import UserError

__all__ = ["Sentence", "offsets", "sentences", "split"]

_END = re.compile(
    r"""(?: [.!?…]+ ["'”’)\]]* (?=\s)   # an end mark, closing marks, and a blank
          | [。！？]+ ["”’」』)]*        # full-width end marks need no blank
          | (?<=\S) (?=\n)              # a line's end
        ) \s*""",
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"""(?: \b(?: e\.g | i\.e | cf | vs | etc | approx | Mr | Mrs | Ms | Dr | Prof | St | Fig | Figs
                | Eq | Eqs | Sec | Ref | No | al )
          | (?:^\s*|\b[A-Z][\w.]*\s+)[A-Z]  # an initial, in a name, or a letter before an item
          | (?:^|\n)\s*\(?\d{1,3}       # the number of an item
        )\.$""",
    re.VERBOSE,
)
_LETTER = re.compile(r"\b[A-Z]\.$")
_INITIAL = re.compile(r"[A-Z]\.\s")


@dataclass(frozen=True)
class Sentence:
    """One sentence.

    Attributes:
        index: its number, from 0.
        chars: ``(start, stop)`` in the text, the blanks behind it included.
        tokens: ``(start, stop)`` in the text's tokens.
        text: without blanks around it.
    """

    index: int
    chars: tuple[int, int]
    tokens: tuple[int, int]
    text: str


def split(text: str) -> list[tuple[int, int]]:
    """Return the ``(start, stop)`` characters of each sentence; together they are the whole text.

    A sentence ends at an end mark before a blank, at a full-width end mark, and at a line's end;
    not behind usual abbreviations, initials and numbers of items, and not where the next word
    begins in lower case after full stops. Pieces without a letter or digit belong to the
    sentence behind, or at the end to the one before.

    >>> [text[a:b] for text in ["See Fig. 2. It is 3.5 m, i.e. tall! Yes"] for a, b in split(text)]
    ['See Fig. 2. ', 'It is 3.5 m, i.e. tall! ', 'Yes']
    """
    cuts = [0]
    for match in _END.finditer(text):
        mark = match.group().strip()
        before = text[cuts[-1] : match.start() + len(mark)]
        behind = text[match.end() : match.end() + 1]
        if mark == "." and (
            _ABBREVIATION.search(before)
            or (_LETTER.search(before) and _INITIAL.match(text, match.end()))
        ):
            continue
        if set(mark) <= set(".…") and mark and behind.islower() and "\n" not in match.group():
            continue
        if not re.search(r"\w", before):
            continue
        if re.search(r"\w", text[match.end() :]):
            cuts.append(match.end())
    return list(zip(cuts, [*cuts[1:], len(text)], strict=True)) if text else []


def sentences(tokenizer: Any, ids: Sequence[int]) -> tuple[str, list[Sentence]]:
    """Return the text of some tokens, and its sentences.

    A token belongs to the sentence in which its last character is. Sentences that own no token are
    joined to the one before, the first to the one behind. Special tokens belong to no sentence
    unless they are between two tokens of one.

    Args:
        tokenizer: made the tokens.
        ids: a text without padding.
    """
    text, ends = _decoded(tokenizer, ids)
    found: list[Sentence] = []
    start = 0  # of the sentence being made, in characters
    place = 0  # the first token that no sentence has yet
    while place < len(ends) and ends[place] is None:
        place += 1
    for _, stop in split(text):
        behind = place
        last = place
        while behind < len(ends):
            end = ends[behind]
            if end is not None:
                if end > stop:
                    break
                last = behind + 1
            behind += 1
        if last > place:
            found.append(
                Sentence(len(found), (start, stop), (place, last), text[start:stop].strip())
            )
            place, start = last, stop
            while place < len(ends) and ends[place] is None:
                place += 1
        elif found:
            chars = (found[-1].chars[0], stop)
            whole = text[chars[0] : stop].strip()
            found[-1] = Sentence(found[-1].index, chars, found[-1].tokens, whole)
            start = stop
    return text, found


def offsets(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the tokens of a text, and the characters ``(start, stop)`` of each.

    Raises:
        UserError: the tokenizer does not know where its tokens are.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"{type(tokenizer).__name__} does not say where its tokens are in a text; use a model "
            "with a fast tokenizer"
        )
    made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(made["input_ids"]), [tuple(pair) for pair in made["offset_mapping"]]


def _decoded(tokenizer: Any, ids: Sequence[int]) -> tuple[str, list[int | None]]:
    """The text of some tokens, and the character behind each; None for special tokens."""
    special = set(tokenizer.all_special_ids)
    ends: list[int | None] = []
    text = ""
    start = read = 0  # a window of tokens with enough before it that blanks come out as in the text
    kept = [(i, token) for i, token in enumerate(ids) if token not in special]
    words = [token for _, token in kept]
    pieces = {}
    for index in range(len(words)):
        before = tokenizer.decode(words[start:read])
        after = tokenizer.decode(words[start : index + 1])
        if after.endswith("\ufffd") and index + 1 < len(words):  # a character in several tokens
            pieces[index] = len(text) + 1
            continue
        text += after[len(before) :]
        pieces[index] = len(text)
        start, read = read, index + 1
    places = {place: pieces[index] for index, (place, _) in enumerate(kept)}
    for index in range(len(ids)):
        ends.append(places.get(index))
    return text, ends

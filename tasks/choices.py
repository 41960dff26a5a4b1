"""From a model's free text to the letter, the word, or the yes or no it answers with.

Every parser returns None when the text does not commit to exactly one choice; callers count that
as an invalid answer, which is wrong. None of them guesses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["parse_letter", "parse_word", "parse_yes_no", "strip_reasoning"]

_REASONING = r"(?:think|thinking|thought|reasoning|analysis)"
_CLOSED_BLOCK = re.compile(rf"<({_REASONING})>.*?</\1>", re.IGNORECASE | re.DOTALL)
_STRAY_END = re.compile(rf"^.*</{_REASONING}>", re.IGNORECASE | re.DOTALL)
_STRAY_START = re.compile(rf"<{_REASONING}>.*$", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w+(?:'\w+)?")


def strip_reasoning(text: str) -> str:
    """The text without its reasoning: closed blocks, what precedes a lone end tag, open blocks.

    An opened block that is never closed was cut off before the answer, so nothing after it counts.

    >>> strip_reasoning("<think>A or B?</think> B")
    'B'
    """
    text = _CLOSED_BLOCK.sub(" ", text)
    text = _STRAY_END.sub(" ", text)
    return _STRAY_START.sub(" ", text).strip()


def parse_letter(text: str, options: Mapping[str, str] | Sequence[str]) -> str | None:
    """The option letter that the text commits to.

    Tried in this order, the first that applies decides:

    1. the whole text is a letter: ``B``, ``(b)``, ``**B**.``;
    2. the last "answer ... B";
    3. a letter with a delimiter at the start: ``B. The dog ...``;
    4. letters after "option", "caption" or "choice" or in parentheses, if they all agree;
    5. a capital letter as last word, if no other option letter stands anywhere;
    6. one option's own text occurs in the answer, case and punctuation aside, and no other's.

    Args:
        text: what the model wrote; reasoning blocks are removed first.
        options: the letters, or a mapping from letter to the option's text.

    >>> parse_letter("The answer is (B).", "AB")
    'B'
    >>> parse_letter("A man is waving.", "AB") is None
    True
    """
    text = strip_reasoning(text).replace("*", "").strip()
    letters = "".join(options)
    one = rf"[(\[{{\"'`]*([{letters}])[)\]}}\"'`]*"
    if whole := re.fullmatch(rf"{one}[.:,;!]?", text, re.IGNORECASE):
        return whole[1].upper()
    # "the answer is a matter of taste": a small letter counts at the end of the text only.
    lead = r"\b[Aa]nswer(?:\s+(?:is|would be|should be))?\s*[:=]?\s*"
    lead += r"(?:(?:the\s+)?(?:option|caption|choice)\s+)?"
    if declared := re.findall(rf"{lead}{one}(?![\w'])", text):
        return declared[-1]
    if declared := re.findall(rf"{lead}{one}[.!]?$", text, re.IGNORECASE):
        return declared[-1].upper()
    if leading := re.match(rf"[(\[]?([{letters}])(?:\s*[.:)\]]+\s|[ \t]*\n)", text):
        return leading[1]
    named = set(re.findall(rf"\b(?:[Oo]ption|[Cc]aption|[Cc]hoice)\s+{one}(?![\w'])", text))
    named |= set(re.findall(rf"\(([{letters}])\)", text))
    if named:
        return named.pop() if len(named) == 1 else None
    mentioned = set(re.findall(rf"(?<![\w'])([{letters}])(?![\w'])", text))
    if len(mentioned) == 1 and re.search(rf"(?<![\w']){one}[.!]?$", text):
        return mentioned.pop()
    return _only_quoted(text, options) if isinstance(options, Mapping) else None


def parse_word(text: str, words: Sequence[str]) -> str | None:
    """The first of the words that occurs in the text, whole words only, case aside.

    >>> parse_word("It is Red, not blue.", ["blue", "red"])
    'red'
    """
    known = {word.casefold(): word for word in words}
    for word in _WORD.findall(strip_reasoning(text).casefold()):
        if word in known:
            return known[word]
    return None


def parse_yes_no(text: str) -> str | None:
    """``"yes"`` or ``"no"``, whichever occurs first."""
    return parse_word(text, ("yes", "no"))


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


def _only_quoted(text: str, options: Mapping[str, str]) -> str | None:
    answer = f" {_plain(text)} "
    quoted = [letter for letter, option in options.items() if f" {_plain(option)} " in answer]
    return quoted[0] if len(quoted) == 1 else None

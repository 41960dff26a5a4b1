"""Does a free answer say yes or no? Strictly: one of both, or it does not count.

A text that answers both ways, or only says that it cannot tell, is no answer. `parse_yes_no` is for
any question; `commit_to_yes_or_no` is for "Is there ...?" and reads sentences about that, too.
"""

from __future__ import annotations

import re

from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.normalising import nfkc

__all__ = ["commit_to_true_or_false", "commit_to_yes_or_no", "parse_yes_no"]

_MARKUP = re.compile(r"[*$`\"]|__|\\(?:boxed|text\w*|math\w*)")
_UNKNOWN = (
    r"(?:idea|clue|way|comment|opinion|information|answer|picture|image|photo|access|context|data|"
    r"evidence|means|doubt|problem|option|one\s+can|visual|longer)\b"
)
_NOT = r"(?:\bnot|\bneither|\bnor|\bcannot\s+(?:say|answer)|n't(?:\s+(?:say|answer|think))?)\s+"
#: "no" before a noun, inside a sentence: it denies a thing and does not answer by itself.
_DETERMINER = (
    r"\b(?:with|of|has|have|having|had|sees?|seeing|shows?|showing|contains?|containing|finds?|"
    r"wears?|wearing|holds?|holding)\s+no(?=\s+(?!(?:yes|no)\b)\w)"
)
_REFUSAL = rf"(?:\bhave|\bhas|\bis|\bare|^|(?<=[.!?,;:])\s*)\s*\bno\s+{_UNKNOWN}[^.!?]*"
_THERE_IS = r"there(?:\s+is|\s+are|'s|'re)"
#: "no" inside a sentence, not behind what introduces an answer.
_INSIDE = (
    r"(?<![.!?,;:/-])(?<!\byes)(?<!\bor)(?<!\band)(?<!\bbut)(?<!\bis)(?<!\bsay)(?<!\banswer)"
    r"(?<!\bthen)(?<!\bso)(?<!^)\s+no\s+(?=(?!yes\b|because\b|since\b|as\b|it\b|the\b|not\b)\w)"
)
_DISCARDED = r"\b(?:yes|no)\s+(?:is|would\s+be)\s+(?:wrong|incorrect|false)\b"
_EXISTS = rf"\b{_THERE_IS}"
_DENIED = re.compile(rf"{_EXISTS}(?:\s+not\b|n't\b|\s+no\b)|\bthere\s+(?:isn't|aren't)")
_AFFIRMED = re.compile(
    rf"(?<!if\s)(?<!whether\s){_EXISTS}(?!\s*(?:not\b|n't|no\b|nothing\b))\s+\w+"
)
_CONTRADICTION = re.compile(
    rf"\byes\b[,;:]?\s+{_THERE_IS}(?:\s+no\b|\s+not\b|n't\b)"
    rf"|\bno\b[,;:]?\s+{_THERE_IS}\s+(?!no\b|not\b)\w"
)


def commit_to_yes_or_no(text: str) -> str | None:
    """``"yes"`` or ``"no"`` if the text answers that and nothing else, or None.

    1. The words *yes* and *no* that answer are collected: not a *no* that only denies a thing
       inside a sentence ("yes, with no lid"), not what is rejected ("not yes"), not a refusal ("no
       idea"). Both: None. One: that one, unless it denies itself ("yes, there is no dog").
    2. Without any, sentences "there is ..." (yes) and "there is no ..." (no), if they agree.

    Reasoning blocks are removed first.

    >>> commit_to_yes_or_no("Yes."), commit_to_yes_or_no("There is no horse")
    ('yes', 'no')
    >>> commit_to_yes_or_no("Yes or no?") is None
    True
    """
    plain = _plain(text)
    plain = re.sub(_REFUSAL, " - ", plain)
    if _CONTRADICTION.search(plain):
        return None
    answered = re.sub(_DETERMINER, " -", plain)
    # "there is no horse" is left to the second step.
    answered = re.sub(rf"{_EXISTS}\s+no\b", " -", answered)
    answered = re.sub(rf"{_NOT}(?:yes|no)\b", " - ", answered)
    words = set(re.findall(r"\b(?:yes|no)\b", answered))
    if words:
        return words.pop() if len(words) == 1 else None
    denied, affirmed = _DENIED.search(plain), _AFFIRMED.search(plain)
    if bool(denied) == bool(affirmed):
        return None
    return "no" if denied else "yes"


def parse_yes_no(text: str) -> str | None:
    """``"yes"`` or ``"no"`` if the text answers that and not the other, or None.

    Not counted are a *no* inside a sentence ("because no one waits", "with no lid"), what is
    rejected ("not yes", "yes would be wrong") and refusals ("no idea"). Where no word is left,
    "there is no ..." answers no. Reasoning blocks are removed first.

    >>> parse_yes_no("Yes, since no one moves it."), parse_yes_no("No. Yes would be wrong.")
    ('yes', 'no')
    >>> parse_yes_no("yes or no") is None
    True
    """
    plain = re.sub(_REFUSAL, " - ", _plain(text))
    answered = re.sub(_DETERMINER, " -", plain)
    answered = re.sub(rf"{_EXISTS}\s+no\b", " -", answered)
    answered = re.sub(rf"{_NOT}(?:yes|no)\b", " - ", answered)
    answered = re.sub(_INSIDE, " - ", re.sub(_DISCARDED, " - ", answered))
    words = set(re.findall(r"\b(?:yes|no)\b", answered))
    if words:
        return words.pop() if len(words) == 1 else None
    return "no" if re.search(rf"{_EXISTS}\s+no\b", plain) else None


def commit_to_true_or_false(text: str) -> str | None:
    """``"true"`` or ``"false"`` if the text names one of the two words and not the other.

    A rejected word counts as the other one: "not true" is false. Both words: None.

    >>> commit_to_true_or_false("The statement is not true.")
    'false'
    >>> commit_to_true_or_false("True or False") is None
    True
    """
    plain = _plain(text)
    words = set(re.findall(r"\b(?:true|false)\b", plain))
    if len(words) != 1:
        return None
    word = words.pop()
    rejected = len(re.findall(rf"{_NOT}{word}\b", plain))
    if rejected == 0:
        return word
    if rejected < len(re.findall(rf"\b{word}\b", plain)):
        return None
    return "false" if word == "true" else "true"


def _plain(text: str) -> str:
    written = nfkc(strip_reasoning(text))
    written = written.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    written = re.sub(r"。|\s*\n\s*", " . ", _MARKUP.sub("", written).strip())
    return " ".join(written.casefold().split())

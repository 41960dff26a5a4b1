"""From a model's free text to the letter or the word it answers with.

Every parser returns None when the text does not commit to exactly one choice; callers count that
as an invalid answer, which is wrong. None of them guesses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lmms_causal.tasks.commitments import (
    AFTER_A_LETTER,
    commitments,
    numbers_as_letters,
    short_runs,
    without_discussion,
)
from lmms_causal.tasks.normalising import nfkc

__all__ = ["parse_letter", "parse_word", "strip_reasoning"]

_REASONING = r"(?:think|thinking|thought|reasoning|analysis)"
_TAG = re.compile(rf"<(/?)({_REASONING})>", re.IGNORECASE)
_STRAY_END = re.compile(rf"^.*</{_REASONING}>", re.IGNORECASE | re.DOTALL)
_STRAY_START = re.compile(rf"<{_REASONING}>.*$", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_REJECTING = frozenset(("not", "neither", "nor", "never", "cannot", "than", "instead"))
_MARKUP = re.compile(r"[*$]|__|\\(?:boxed|text\w*|math\w*)")

_NOUNS = "option|caption|choice"
_NAMED = r"(?:[Oo]ption|[Cc]aption|[Cc]hoice)"
_APPROVED = r"(?:is|seems|would be)\s+(?:the\s+)?(?:correct|right|best|better|answer)"
_RIGHT_ONE = (
    r"\b(?:correct|right|better|best)\s+(?:option|caption|choice|one)"
    r"(?:\s+(?:for|in)\s+(?:this|the)\s+(?:picture|image))?\s+(?:is|would be|should be)\s*:?\s*"
)
_NOT = (
    r"(?:\b(?:[Nn]ot|cannot|[Nn]either|nor|than|instead of)|n't)\s+(?:be\s+)?"
    r"(?:(?:think|believe|say)\s+)?(?:that\s+)?(?:the\s+)?"
)
_VERB = r"\s+(?:is|are|was|seems|looks|has|gets|puts)"
_FILLING = r"(?:\s+cause\s+and\s+effect)?(?:\s+(?!and|but|so|because|right|correct|best|better)\w+)"
_TAKEN_BACK = (
    r"\b(?:[Ff]irst|[Ii]nitially|[Oo]riginally)\s+(?:I\s+)?(?:thought|believed|assumed|guessed|said)"
    r"\s+(?:that\s+)?(?:(?:the\s+|my\s+)?answer\s+(?:is|was)\s+)?(?:the\s+)?"
)
_FINAL = r"\b[Ff]inal(?:ly)?,?\s+(?:the\s+)?(?:answer|verdict|choice|decision)\b"
_WRONG = (
    rf"(?:(?:{_VERB}(?:{_FILLING}{{0,2}}|\s+cause\s+and\s+effect))\s+"
    r"(?:not|wrong|incorrect|false|invalid|reversed|swapped|backwards?|(?:the\s+)?reverse)\b"
    r"|\s+(?:reverses|swaps|cannot|can't|does\s+not|doesn't|isn't|wouldn't)\b)"
)


def strip_reasoning(text: str) -> str:
    """The text without its reasoning: closed blocks, what precedes a lone end tag, open blocks.

    An opened block that is never closed was cut off before the answer, so nothing after it counts.

    >>> strip_reasoning("<think>A or B?</think> B")
    'B'
    """
    text = _STRAY_END.sub(" ", _without_closed_blocks(text))
    return _STRAY_START.sub(" ", text).strip()


def _without_closed_blocks(text: str) -> str:
    """The text with a blank for each start tag up to the next end tag of its name.

    In linear time: a pattern would look through all that follows for every tag that is never
    closed, and a model that repeats one writes thousands.
    """
    tags = list(_TAG.finditer(text))
    ends: dict[str, list[re.Match[str]]] = {}
    for tag in tags:
        if tag[1]:
            ends.setdefault(tag[2].lower(), []).append(tag)
    used = dict.fromkeys(ends, 0)
    pieces, place = [], 0
    for tag in tags:
        if tag[1] or tag.start() < place:
            continue
        name = tag[2].lower()
        behind = ends.get(name, [])
        while used.get(name, 0) < len(behind) and behind[used[name]].start() < tag.end():
            used[name] += 1
        if used.get(name, 0) < len(behind):
            pieces.append(text[place : tag.start()])
            place = behind[used[name]].end()
    return " ".join([*pieces, text[place:]])


def parse_letter(text: str, options: Mapping[str, str] | Sequence[str]) -> str | None:
    """The option letter that the text commits to.

    Letters that the text rejects ("A is wrong", "not A", "I first thought the answer is A") or only
    lists ("A or B") do not count, nor does the article "A". Where the text states a "final
    answer", what stands before the last one does not count. A text that then still commits itself
    to two letters (`commitments.commitments`: "Answer: A. Answer: B", "A. B") is no answer. Else,
    in this order, the first that applies decides:

    1. the whole text is a letter: ``B``, ``(b)``, ``**B**.`` ("option 2" is "option B");
    2. the last "answer ... B", "right caption is B" or "choose B";
    3. a letter with a delimiter, or "because", at the start: ``B. The dog ...``;
    4. letters that are called right, stand after "option", "caption" or "choice", or in
       parentheses, if they all agree;
    5. a capital letter as last word, if no other option letter stands anywhere;
    6. one option's own text occurs in the answer, case and punctuation aside, and no other's.

    Args:
        text: what the model wrote; reasoning blocks are removed first.
        options: the letters, or a mapping from letter to the option's text.

    >>> parse_letter("The answer is (B).", "AB")
    'B'
    >>> parse_letter("Option A is wrong, so B", "AB")
    'B'
    >>> parse_letter("A man is waving.", "AB") is None
    True
    >>> parse_letter("The answer is A. The answer is B.", "AB") is None
    True
    """
    written = strip_reasoning(text)
    plain = nfkc(short_runs(written)).replace("。", ".").replace("、", ",")
    plain = _MARKUP.sub("", plain.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")).strip()
    letters = "".join(options)
    plain = numbers_as_letters(plain, letters, nouns=_NOUNS)
    one = rf"[(\[{{<\"'`]*([{letters}])[)\]}}>\"'`]*"
    if whole := re.fullmatch(rf"{one}[.:,;!]?", plain, re.IGNORECASE):
        return whole[1].upper()
    kept, listed = _without_rejected(plain, letters)
    kept = without_discussion(_from_the_final(kept, letters, one), letters, nouns=_NOUNS)
    if len(commitments(kept, letters, nouns=_NOUNS)) > 1:
        return None
    if letter := _committed(kept, letters, one):
        return letter
    # Where letters are listed, an option's own words may be one of several quoted.
    if isinstance(options, Mapping) and not listed:
        return _only_quoted(written, options)
    return None


def _from_the_final(text: str, letters: str, one: str) -> str:
    """The text from its last statement of a final answer on, or all of it."""
    stated = list(re.finditer(rf"{_FINAL}[^.!?\n]{{0,40}}?(?<![A-Za-z0-9']){one}(?!\w)", text))
    return text[stated[-1].start() :] if stated else text


def _committed(text: str, letters: str, one: str) -> str | None:
    """Rules 2 to 5 of `parse_letter`."""
    alone, apart = r"(?<![A-Za-z0-9'])", r"(?![A-Za-z0-9'])"
    # "answer: A dog ..." and, of small letters, "the answer is a matter of taste" name no option.
    stands = rf"{apart}(?!(?<=A)\s+(?!(?:{AFTER_A_LETTER})\b)[a-z])(?!\s*\?)"
    lead = r"(?:(?<![A-Za-z])[Aa]nswer|答案)(?:\s+(?:is|would be|should be)|是)?\s*[:=]?\s*"
    lead = rf"(?:{lead}|{_RIGHT_ONE}|\b(?:choose|pick|select|go\s+with)\s+|选)"
    lead += rf"(?:(?:the\s+)?{_NAMED}\s+)?"
    if declared := re.findall(rf"{lead}{one}{stands}", text):
        return str(declared[-1])
    if declared := re.findall(rf"{lead}{one}[.!]?$", text, re.IGNORECASE):
        return str(declared[-1]).upper()
    start = r"(?:\s*[.:)\]]+\s|\s*[,;]\s|\s+[-\u2013\u2014]+\s|[ \t]*\n|\s+(?:because|since)\b)"
    if leading := re.match(rf"[(\[]?([{letters}]){start}", text):
        # A repeated question starts several lines with letters.
        starts = re.findall(rf"^[(\[]?([{letters}])(?:[.:)\]]|\s*$)", text, re.MULTILINE)
        starts += re.findall(rf"\s([{letters}])[:)]\s", text)
        return leading[1] if set(starts) <= {leading[1]} else None
    named = set(re.findall(rf"\b{_NAMED}\s*:?\s+{one}{apart}(?!\s*\?)", text))
    named |= set(re.findall(rf"\(([{letters}])\)", text))
    named |= set(re.findall(rf"{alone}{one}\s+{_APPROVED}\b", text))
    if named:
        return named.pop() if len(named) == 1 else None
    mentioned = set(re.findall(rf"{alone}([{letters}]){apart}", text))
    if len(mentioned) == 1 and re.search(rf"{alone}{one}[.!]?$", text):
        return mentioned.pop()
    return None


def _without_rejected(text: str, letters: str) -> tuple[str, bool]:
    """The text with "-" for every letter that it rejects or only lists, and whether it lists."""
    one = rf"(?<![A-Za-z0-9'])[(\"'`]*[{letters}][)\"'`]*(?![A-Za-z0-9'])"
    named = rf"(?:{_NAMED}s?\s+)?"
    rejected = (rf"{_NOT}{named}{one}", rf"{_TAKEN_BACK}{named}{one}", rf"{one}{_WRONG}")
    lists = (
        rf"{one}\s*(?:\bor\b|\band\b|\bnor\b|/|&)\s*{named}{one}(?!\s+(?:is|has|seems)\b)",
        rf"{one}\s*,\s*{named}{one}\s*(?=[.!]|$)",
    )
    for pattern in rejected:
        text = re.sub(pattern, lambda match: re.sub(rf"\b[{letters}]\b", "-", match[0]), text)
    kept = text
    for pattern in lists:
        kept = re.sub(pattern, lambda match: re.sub(rf"\b[{letters}]\b", "-", match[0]), kept)
    return kept, kept != text


def parse_word(text: str, words: Sequence[str]) -> str | None:
    """The one of the words that occurs in the text, whole words only, case aside.

    A rejected word ("not blue", "rather than a blue one") does not count; two words are no answer.

    >>> parse_word("It is Red, not blue.", ["blue", "red"])
    'red'
    >>> parse_word("Red or blue", ["blue", "red"]) is None
    True
    """
    known = {word.casefold(): word for word in words}
    written = _WORD.findall(
        strip_reasoning(text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
    found = {
        known[word]
        for place, word in enumerate(written)
        if word in known and not any(map(_rejects, written[max(place - 2, 0) : place]))
    }
    return found.pop() if len(found) == 1 else None


def _rejects(word: str) -> bool:
    """Whether a word rejects what stands at most one word behind it."""
    return word in _REJECTING or word.endswith("n't")


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


def _only_quoted(text: str, options: Mapping[str, str]) -> str | None:
    answer = f" {_plain(text)} "
    quoted = [letter for letter, option in options.items() if f" {_plain(option)} " in answer]
    return quoted[0] if len(quoted) == 1 else None

"""From what a model wrote to the one option it names; a text that names two is no answer.

`choices.parse_letter` reads the letter. Before it, this module takes reasoning out, cuts runs of
signs short and blanks lists of letters, each in time linear in the text, so that a megabyte of
anything is read in seconds. After that, a text that commits itself to two letters is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from lmms_causal.tasks.choices import parse_letter

__all__ = ["parse_final_option", "parse_option", "without_reasoning"]

_TAG = re.compile(r"<(/?)(think|thinking|thought|reasoning|analysis)>", re.IGNORECASE)
_SIGNS = re.compile(r"[\W_]{17,}")
_SIGNS_KEPT = 8
_MARKUP = re.compile(r"[*$`]|__|\\(?:boxed|text\w*|math\w*)")
_PLACES = "12345678"
_NAMING = r"(?i:option|choice|candidate|phrase|description|scene)"
_PICTURED = r"(?i:image|picture|panel)"
_FINAL = re.compile(r"answer[*_\s]{0,8}:", re.IGNORECASE)


def parse_option(text: str, options: Mapping[str, str] | Sequence[str]) -> str | None:
    """The letter of the one option that the text names; None if there is none, or more.

    As `choices.parse_letter`, and further:

    * "image B", "scene B" and the like name B; "option 2" names B. "image 2" names nothing: the
      second picture shown is not the second candidate.
    * Lists of letters ("A, B, C", "A and B") name nothing.
    * A text that declares two letters, starts lines with them, or has them as sentences is no
      answer, even if it takes one of them back. All options repeated in order, as in the question,
      do not count.

    Args:
        text: what the model wrote.
        options: the letters, or a mapping from letter to the option's text.

    >>> parse_option("Scene C, because the cap is red.", "ABCD")
    'C'
    >>> parse_option("Answer: A. Answer: B.", "ABCD") is None
    True
    """
    letters = "".join(options)
    written = _plain(without_reasoning(text), letters)
    plain = _without_lists(written, letters)
    if len(_commitments(plain, letters)) > 1:
        return None
    # Where letters are listed, an option's own words may be one of several quoted.
    return parse_letter(plain, options if plain == written else letters)


def parse_final_option(text: str, options: Mapping[str, str] | Sequence[str]) -> str | None:
    """`parse_option` of what follows the last "Answer:", for prompts that ask for steps first.

    Without one, the last line counts if it is a letter or speaks of an answer. Letters in the steps
    are no answers.

    >>> parse_final_option("A: a red cap. B: a blue one.\\nAnswer: B", "ABCD")
    'B'
    """
    written = _short_runs(without_reasoning(text)).strip()
    final = list(_FINAL.finditer(written))
    if final:
        return parse_option(f"Answer: {written[final[-1].end() :].strip(' *_')}", options)
    line = written.rpartition("\n")[2].strip()
    return parse_option(line, options) if len(line) < 8 or "answer" in line.lower() else None


def without_reasoning(text: str) -> str:
    """The text without closed blocks of reasoning, what precedes a lone end tag, and an open block.

    The same as `choices.strip_reasoning` for tags that match, in one pass.
    """
    kept: list[str] = []
    opened, position = "", 0
    for tag in _TAG.finditer(text):
        closes, name = bool(tag[1]), tag[2].lower()
        if not opened:
            if closes:
                kept.clear()
            else:
                kept.append(text[position : tag.start()])
                opened = name
            position = tag.end()
        elif closes and name == opened:
            opened, position = "", tag.end()
    if not opened:
        kept.append(text[position:])
    return " ".join(kept).strip()


def _short_runs(text: str) -> str:
    """The text with long runs of signs and blanks cut to their ends."""
    return _SIGNS.sub(lambda run: run[0][:_SIGNS_KEPT] + run[0][-_SIGNS_KEPT:], text)


def _plain(text: str, letters: str) -> str:
    """The text in one dress: plain letters, no markup, and "option B" for all its synonyms."""
    text = unicodedata.normalize("NFKC", _short_runs(text)).replace("。", ".").replace("、", ",")
    boxed = rf"\\boxed\s*\{{(?:\\text\w*\s*\{{)?\s*([{letters}])\s*\}}+"
    text = _MARKUP.sub("", re.sub(boxed, r"\nanswer: \1\n", text))
    places = _PLACES[: len(letters)]
    text = re.sub(
        rf"\b{_NAMING}\s+(?i:number\s+|no\.\s*)?#?([{places}])\b(?![.,]\d)",
        lambda match: f"option {letters[places.index(match[1])]}",
        text,
    )
    return re.sub(rf"\b(?:{_NAMING}|{_PICTURED})\s+([{letters}])(?![\w'])", r"option \1", text)


def _without_lists(text: str, letters: str) -> str:
    """The text with "-" for the letters of lists: three or more, or two with "and" or "or"."""
    item = rf"(?:(?i:option)\s+)?(?<![\w'])[(\[\"']*[{letters}][)\]\"']*(?![\w'])"
    joint = r"\s*(?:/|&|\+|,?\s*\b(?i:and|or|nor)\b)\s*"
    either = rf"(?:{joint}|\s*,\s*)"
    lists = re.compile(rf"{item}(?:(?:{either}{item}){{2,}}|{joint}{item})")
    return lists.sub(lambda found: re.sub(rf"\b[{letters}]\b", "-", found[0]), text)


def _commitments(text: str, letters: str) -> set[str]:
    """The letters a text declares, calls right, has as sentences, or begins or ends with."""
    one = rf"[(\[{{<\"']*([{letters}])[)\]}}>\"']*(?![\w'])"
    named = r"(?:(?:the\s+)?(?i:option)\s+)?"
    lead = (
        r"\b(?i:answer|choose|pick|select|go\s+with|(?:correct|right|best)\s+(?:option|one)|答案)"
        rf"\s*(?i:is|would\s+be|should\s+be|是)?\s*[:=]?\s*{named}"
    )
    end = r"(?=\s*(?:[.,;!\n]|$))"
    # "A dog" and "answer: a dog" speak of a dog.
    no_article = r"(?!\s+(?!(?:or|and|nor|(?:the\s+)?answer|option)\b)[a-z])"
    alone = rf"(?:^|[.;,!?\n/&\u2013\u2014]|--|\b(?:or|and|maybe)\b)\s*{named}{one}{end}"
    be = r"(?:is|are|seems?|would\s+be)\s+(?:(?:also|both|all|the)\s+)*"
    right = rf"(?<![\w']){one}\s+{be}(?:correct|right|best)\b"
    first = rf"\A\s*{named}{one}{no_article}"
    last = rf"(?<![\w'])(?<!\bnot )(?<!\bnor )(?<!\bthan ){one}[.!]?\s*$"
    patterns = (rf"{lead}{one}", alone, right, first, last)
    found = {letter for pattern in patterns for letter in re.findall(pattern, text)}
    found |= {letter.upper() for letter in re.findall(rf"(?i:{lead}{one}){no_article}", text)}
    starts = re.findall(rf"^[(\[]?([{letters}])(?:[.:)\]]|\s*$)", text, re.MULTILINE)
    # "not scene A. The" ends a sentence and lists nothing.
    listed = re.findall(
        rf"(?<![\w'])([{letters}])[.)]\s+(?:(?=[a-z])|(?<![a-z]\s[{letters}][.)]\s)(?=\w))", text
    )
    for run in (starts, listed):
        question_again = "".join(run[: len(letters)]) == letters
        found |= set() if question_again else set(run)
    return found

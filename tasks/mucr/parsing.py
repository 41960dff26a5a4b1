"""From what a model wrote to the one option it names; a text that names two is no answer.

`choices.parse_letter` reads the letter. Before it, this module takes reasoning out, cuts runs of
signs short and blanks lists of letters, each in time linear in the text, so that a megabyte of
anything is read in seconds. After that, a text that commits itself to two letters is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lmms_causal.tasks.choices import parse_letter
from lmms_causal.tasks.commitments import (
    commitments,
    numbers_as_letters,
    short_runs,
    without_lists,
)
from lmms_causal.tasks.normalising import nfkc

__all__ = ["parse_final_option", "parse_option", "without_reasoning"]

_TAG = re.compile(r"<(/?)(think|thinking|thought|reasoning|analysis)>", re.IGNORECASE)
_MARKUP = re.compile(r"[*$`]|__|\\(?:boxed|text\w*|math\w*)")
_NAMING = "option|choice|candidate|phrase|description|scene"
_PICTURED = "image|picture|panel"
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
    plain = without_lists(written, letters)
    if len(commitments(plain, letters)) > 1:
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
    written = short_runs(without_reasoning(text)).strip()
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


def _plain(text: str, letters: str) -> str:
    """The text in one dress: plain letters, no markup, and "option B" for all its synonyms."""
    text = nfkc(short_runs(text)).replace("。", ".").replace("、", ",")
    boxed = rf"\\boxed\s*\{{(?:\\text\w*\s*\{{)?\s*([{letters}])\s*\}}+"
    text = _MARKUP.sub("", re.sub(boxed, r"\nanswer: \1\n", text))
    text = numbers_as_letters(text, letters, nouns=_NAMING)
    return re.sub(rf"\b(?i:{_NAMING}|{_PICTURED})\s+([{letters}])(?![\w'])", r"option \1", text)

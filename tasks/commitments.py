"""Which option letters a text commits itself to, and what to cut before that is asked.

A text that commits itself to two letters answers nothing, however a parser would choose between
them. The functions take time linear in the text: runs of signs are cut short first
(`short_runs`), since every pattern here may start at every sign of a run and read to its end.
"""

from __future__ import annotations

import re

__all__ = [
    "AFTER_A_LETTER",
    "commitments",
    "numbers_as_letters",
    "short_runs",
    "without_discussion",
    "without_lists",
]

_SIGNS = re.compile(r"[\W_]{17,}")
_SIGNS_KEPT = 8
_PLACES = "12345678"
#: Words that no article stands before: "A because ..." answers, "A dog ..." tells of a dog.
AFTER_A_LETTER = (
    "is|was|are|has|does|seems|would|should|because|since|as|for|which|that|based|due|given|and|or|"
    "but|not|over|rather|with|in|on|from|if|while|so|it|the|where|when|by|here|instead|to"
)


def short_runs(text: str) -> str:
    """The text with long runs of signs and blanks cut to their ends.

    Before Unicode is normalised: to order a long run of combining marks takes quadratic time.
    """
    return _SIGNS.sub(lambda run: run[0][:_SIGNS_KEPT] + run[0][-_SIGNS_KEPT:], text)


def numbers_as_letters(text: str, letters: str, *, nouns: str) -> str:
    """The text with "option B" for "option 2", "choice no. 2", "option #2"; nouns as below."""
    places = _PLACES[: len(letters)]
    return re.sub(
        rf"\b(?i:{nouns})\s+(?i:number\s+|no\.\s*)?#?([{places}])\b(?![.,]\d)",
        lambda match: f"option {letters[places.index(match[1])]}",
        text,
    )


def without_lists(text: str, letters: str) -> str:
    """The text with "-" for the letters of lists: three or more, or two with "and" or "or"."""
    item = rf"(?:(?i:option)\s+)?(?<![\w'])[(\[\"']*[{letters}][)\]\"']*(?![\w'])"
    joint = r"\s*(?:/|&|\+|,?\s*\b(?i:and|or|nor)\b)\s*"
    either = rf"(?:{joint}|\s*,\s*)"
    lists = re.compile(rf"{item}(?:(?:{either}{item}){{2,}}|{joint}{item})")
    return lists.sub(lambda found: re.sub(rf"\b[{letters}]\b", "-", found[0]), text)


def without_discussion(text: str, letters: str, *, nouns: str) -> str:
    """The text with "-" for the labels of options gone through one by one, if it declares one.

    "A: ... B: ... The answer is B" discusses the options, or repeats the question. Where some
    letters are missing, or no answer is declared, labels are answers. See `commitments`.
    """
    one = rf"[(\[]?([{letters}])"
    declared = {found.start(1) for found in re.finditer(rf"{_lead(nouns)}{one}(?!\w)", text)}
    heads = rf"(?:^|(?<=\s))(?:(?i:{nouns})\s+)?{one}[.:)\]]{{1,2}}\s+(?=\w\w|[AaI]\s)"
    labels = [head for head in re.finditer(heads, text) if head.start(1) not in declared]
    if not declared or {label[1] for label in labels} != set(letters):
        return text
    places = {label.start(1) for label in labels}
    return "".join("-" if place in places else sign for place, sign in enumerate(text))


def commitments(text: str, letters: str, *, nouns: str = "option") -> set[str]:
    """The letters a text declares, calls right, has as sentences, or begins or ends with.

    Args:
        text: with `short_runs`, without markup.
        letters: the options' letters, capitals.
        nouns: what an option may be called, alternatives of a pattern, case aside.
    """
    text = without_discussion(text, letters, nouns=nouns)
    one = rf"[(\[{{<\"'`]*([{letters}])[)\]}}>\"'`]*(?![\w'])"
    named = rf"(?:(?:the\s+)?\b(?i:{nouns})\s*:?\s+)?"
    lead = _lead(nouns)
    end = r"(?=\s*(?:[.,;!\n]|$))"
    # "A dog" and "answer: a dog" speak of a dog.
    no_article = r"(?!\s+(?!(?:or|and|nor|as\s+well|plus|(?:the\s+)?answer|option)\b)[a-z])"
    no_capital_article = rf"(?!(?<=A)\s+(?!(?:{AFTER_A_LETTER}|answer|option)\b)[a-z])"
    alone = rf"(?:^|[.;,!?\n/&\u2013\u2014]|--|\b(?:or|and|as|plus|maybe)\b)\s*{named}{one}{end}"
    be = r"(?:is|are|seems?|would\s+be)\s+(?:(?:also|both|all|the)\s+)*"
    right = rf"(?<![\w']){one}\s+{be}(?:correct|right|better|best)\b"
    first = rf"\A\s*{named}{one}{no_article}"
    last = rf"(?<![\w'])(?<!\bnot )(?<!\bnor )(?<!\bthan ){one}[.!]?\s*$"
    patterns = (rf"{lead}{one}{no_capital_article}", alone, right, first, last)
    found = {letter for pattern in patterns for letter in re.findall(pattern, text)}
    found |= {letter.upper() for letter in re.findall(rf"(?i:{lead}{one}){no_article}", text)}
    found |= set(re.findall(rf"^[(\[]?([{letters}])(?:[.:)\]]|\s*$)", text, re.MULTILINE))
    # "not scene A. The" ends a sentence and lists nothing.
    ends_no_sentence = rf"(?:(?=[a-z])|(?<![a-z]\s[{letters}][.)]\s)(?=\w))"
    found |= set(re.findall(rf"(?<![\w'])([{letters}])[.)]\s+{ends_no_sentence}", text))
    return found


def _lead(nouns: str) -> str:
    """The pattern of what declares the letter behind it an answer."""
    return (
        r"(?:\b(?i:answer|choose|pick|select|go\s+with|"
        rf"(?:correct|right|better|best)\s+(?:{nouns}|one))|答案|选)"
        r"\s*(?i:is|would\s+be|should\s+be|是)?\s*[:=]?\s*"
        rf"(?:(?:the\s+)?\b(?i:{nouns})\s*:?\s+)?"
    )

"""From a model's text to groups of clues and to connections: by the authors' rules, and strictly.

The authors' rules: repository TaatiTeam/OCW, ``notebooks/run_openai.ipynb``; arXiv 2306.11167.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.normalising import nfkc

__all__ = [
    "normal_form",
    "parse_connections",
    "parse_connections_official",
    "parse_groups",
    "parse_groups_official",
    "plain_form",
]

_GROUP = re.compile(r"Group\s*\d+\s*:?", re.IGNORECASE)
_SHOWN = re.compile(r"\. Connection:.*", re.IGNORECASE)
_CONNECTION = re.compile(r"Connection:\s*(.*)")
_SAID = re.compile(r"\bconnection\b[*_ ]{0,4}:[*_ ]{0,4}(.*)", re.IGNORECASE)
_NUMBERED = re.compile(
    r"[*_# ]{0,4}(?:[-•]|(?:group )?[0-9]{1,2} ?[.):]|group [0-9]:?)\s?", re.IGNORECASE
)
_BETWEEN = frozenset(" ,;|\"'`*_.[](){}“”‘’")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def parse_groups_official(text: str) -> list[list[str]]:
    """Four groups of four texts, whatever there is; what is missing is empty.

    "Group 1:" is deleted; the first four lines that are not empty are cut at commas, and of each
    the first four parts count, without a ". Connection: ..." at their end. A clue that contains a
    comma is broken by that.
    """
    lines = [line.strip() for line in _GROUP.sub("", text).splitlines() if line.strip()][:4]
    groups = [[part.strip() for part in line.split(",")][:4] for line in lines]
    return [
        [_SHOWN.sub("", part) for part in [*group, *[""] * (4 - len(group))]]
        for group in [*groups, *[[]] * (4 - len(groups))]
    ]


def parse_connections_official(text: str) -> list[str]:
    """What stands after "Connection:" in each of the first four lines, empty ones included."""
    found = [_CONNECTION.search(line) for line in text.splitlines()[:4]]
    return [match[1].strip() if match else "" for match in found] + [""] * (4 - len(found))


def parse_groups(text: str, words: Sequence[str]) -> list[list[str]] | None:
    """The one division of the clues that the text states; None if there is none, or more than one.

    Reasoning blocks do not count. A line is a group if it consists of four of the clues, in any
    case, with punctuation between them, after a number or "Group 1:" and before "Connection:". The
    different groups of the text must be four that use every clue once.
    """
    clues = sorted({plain_form(word) for word in words}, key=len, reverse=True)
    groups: list[list[str]] = []
    for line in strip_reasoning(text).splitlines():
        if (group := _group(plain_form(line), clues)) and group not in groups:
            groups.append(group)
            if len(groups) > 4:
                return None
    used = Counter(clue for group in groups for clue in group)
    return groups if used == Counter(plain_form(word) for word in words) else None


def parse_connections(text: str) -> list[str] | None:
    """What follows "Connection:" in the four lines that have it; None if they are not four.

    Reasoning blocks do not count.
    """
    found = [_SAID.search(line) for line in strip_reasoning(text).splitlines()]
    said = [match[1].strip() for match in found if match]
    return said if len(said) == 4 else None


def normal_form(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and surplus blanks."""
    text = nfkc(text).casefold().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def plain_form(text: str) -> str:
    """Case-folded, with single blanks."""
    return " ".join(nfkc(text).casefold().split())


def _group(line: str, clues: Sequence[str]) -> list[str] | None:
    """The four clues that a line consists of, sorted."""
    line = line.partition("connection:")[0]
    start = _NUMBERED.match(line)
    for begin in {0, start.end() if start else 0}:
        found = _clues_from(line, begin, clues)
        if found and len(found) == 4:
            return sorted(found)
    return None


def _clues_from(line: str, place: int, clues: Sequence[str]) -> list[str] | None:
    found: list[str] = []
    while place < len(line):
        clue = next((clue for clue in clues if _stands_at(line, place, clue)), None)
        if clue:
            found.append(clue)
            if len(found) > 4:
                return None
            place += len(clue)
        elif line[place] in _BETWEEN:
            place += 1
        else:
            return None
    return found


def _stands_at(line: str, place: int, clue: str) -> bool:
    end = place + len(clue)
    return line.startswith(clue, place) and not (end < len(line) and line[end].isalnum())

"""What the prompts of a task have in common, so that a table shows what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["shared_ends"]

#: Shorter beginnings stay: "Is it " is part of the question, rules and examples are not.
_FEWEST_BEFORE = 80
_FEWEST_AFTER = 8
_ENOUGH = 3
#: Where the end of a turn may begin: a line, or a marker such as ``<|im_end|>``, ``[/INST]``.
_MARKER = re.compile(r"\n|<(?=[|/\w])|\[(?=/)")


def shared_ends(prompts: Sequence[str]) -> tuple[str, str]:
    """Return how all prompts begin and how all end, "" where that is next to nothing.

    Beginnings are whole lines; endings begin with a line or a marker of a chat template. Prompts
    that are empty do not count, and fewer than three say nothing about a task.
    """
    told = sorted({prompt for prompt in prompts if prompt})
    if len(told) < _ENOUGH:
        return "", ""
    # Of sorted texts the first and the last share least.
    before = _shared_beginning(told[0], told[-1])
    before = before[: before.rfind("\n") + 1]
    if len(before) < _FEWEST_BEFORE:
        before = ""
    turned = sorted(prompt[len(before) :][::-1] for prompt in told)
    after = _shared_beginning(turned[0], turned[-1])[::-1]
    begin = _MARKER.search(after)
    after = after[begin.start() :] if begin else ""
    return before, after if len(after) >= _FEWEST_AFTER else ""


def _shared_beginning(one: str, other: str) -> str:
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))]

"""The verbs of which the published matcher knows the inflections, whatever spaCy makes of them.

Two words are the same verb if both are in one of its lists. Most lists follow from the verb; those
that do not are given in full, spelled as published ("swiming", "baaes").
"""

from __future__ import annotations

from functools import cache

__all__ = ["same_verb"]

_ED = (
    "crawl neigh snort croak anchor whistle pedal trumpet flutter strafe moor photograph orbit "
    "chatter school jackknife bask rear meow gnaw subpoena handcuff prescribe tow blare blast "
    "steam seat discipline pounce cross-examine siren"
)
_IRREGULAR = (
    "freeze froze frozen freezing freezes",
    "flee fled fleeing flees",
    "spot spotted spotting spots",
    "see saw seen seeing sees",
    "catch caught catching catches",
    "hide hid hiding hides",
    "swim swam swiming swims",
    "baa baaed baaes baaing",
    "gavel gavelled gavels gavelling",
    "yip yipped yips yipping",
    "wheelie wheelied wheelies wheelying",
    "sting stung stings stinging",
    "shoot shot shoots shooting",
    "lane-split lane-splits lane-splitting",
    "air-drop air-dropped air-drops air-dropping",
    "ring rang rings ringing",
)


def same_verb(one: str, other: str) -> bool:
    """Whether both are forms of one verb in the published lists."""
    lists = _lists()
    return bool(lists.get(one, set()) & lists.get(other, set()))


@cache
def _lists() -> dict[str, set[str]]:
    """The verbs that a form belongs to."""
    found: dict[str, set[str]] = {}
    for base in _ED.split():
        stem = base.removesuffix("e")
        for form in (base, f"{stem}ed", f"{base}s", f"{stem}ing"):
            found.setdefault(form, set()).add(base)
    for line in _IRREGULAR:
        for form in line.split():
            found.setdefault(form, set()).add(line.split()[0])
    return found

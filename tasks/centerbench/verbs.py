"""The forms of a sentence's verbs, collected from its own references.

References of one clause inflect its verb in three ways ("scare", "scared", "scaring"), and a model
may use any of them. No tagger is needed: the first word of each reference's verb phrase is a form.
"""

from __future__ import annotations

from collections.abc import Iterator

from lmms_causal.tasks.centerbench.answers import words
from lmms_causal.tasks.centerbench.data import Sentence

__all__ = ["CHAIN", "FIXED", "verb_forms"]

CHAIN = " which led to "
"""What joins the events of a reference."""

FIXED = ("none", "no prior events")
"""The references that say that nothing comes after, or came before."""


def verb_forms(sentence: Sentence) -> dict[str, str]:
    """Each inflected form of a clause's verb, and the form in its ``action_performed`` reference.

    Words are lower case, as `words` gives them.
    """
    forms: dict[str, str] = {}
    for clause in range(len(sentence.entities)):
        base = words(sentence.answer(clause, "action_performed").lower())[:1]
        for surface in _surfaces(sentence, clause) if base else ():
            forms.setdefault(surface, base[0])
    return forms


def _surfaces(sentence: Sentence, clause: int) -> Iterator[str]:
    """First words of the clause's verb phrase wherever a reference or a question has it."""
    last = len(sentence.entities) - 1
    subject = words(sentence.entities[clause].lower())
    phrases = [words(sentence.answer(clause, "nested_dependency").lower())]
    if clause > 0:
        chain = sentence.answer(clause - 1, "causal_sequence").lower()
        if chain not in FIXED:
            phrases.append(_behind(words(chain.split(CHAIN)[-1]), subject))
    if clause < last:
        outcome = sentence.answer(clause + 1, "chain_consequence").lower()
        phrases.append(_behind(words(outcome), subject))
    if clause == last and clause > 0:
        asked = next(
            q.question
            for q in sentence.questions
            if (q.clause, q.type) == (clause - 1, "agent_identification")
        )
        phrases.append(
            _behind(words(asked.lower()), ["who"]) or _behind(words(asked.lower()), ["what"])
        )
    for phrase in phrases:
        yield from phrase[:1]


def _behind(phrase: list[str], start: list[str]) -> list[str]:
    return phrase[len(start) :] if phrase[: len(start)] == start else []

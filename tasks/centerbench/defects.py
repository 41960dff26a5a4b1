"""Questions whose reference is wrong, senseless or arbitrary; ``clean_acc`` leaves them out.

Found by reading references against sentences; README, "Known defects", tells what is wrong.
"""

from __future__ import annotations

import re
from collections import defaultdict

from lmms_causal.tasks.centerbench.answers import rooted, words
from lmms_causal.tasks.centerbench.data import Question, Sentence
from lmms_causal.tasks.centerbench.verbs import CHAIN, FIXED, verb_forms

__all__ = ["known_bad"]

_WRONG = {
    ("plausible", 1, 5, "mechanic", "nested_dependency"),
    ("plausible", 1, 22, "raccoon", "nested_dependency"),
    ("plausible", 2, 26, "jeep", "action_performed"),
    ("plausible", 3, 18, "driver", "nested_dependency"),
    ("plausible", 4, 30, "cat", "nested_dependency"),
    ("plausible", 5, 6, "grandmother", "chain_consequence"),
    ("plausible", 5, 6, "toddler", "causal_sequence"),
    ("plausible", 5, 6, "babysitter", "causal_sequence"),
    ("plausible", 5, 6, "mother", "agent_identification"),
    ("plausible", 6, 2, "seal", "action_performed"),
    ("plausible", 6, 4, "dog", "chain_consequence"),
    ("plausible", 6, 8, "boy", "chain_consequence"),
    ("plausible", 6, 19, "cat", "nested_dependency"),
}
"""Subset, level, index, entity and type of references that are wrong one by one."""

_WORD_IN_ANY = {
    ("plausible", 4, 26): "man",
    ("plausible", 5, 4): "photographer",
    ("plausible", 5, 14): "photographer",
    ("implausible", 4, 11): "oink",
    ("implausible", 4, 25): "oink",
}
"""Sentences of which a word is cut short or replaced, and how it reads then."""

_PARTICLES = {(1, 28), (3, 5), (4, 8), (4, 22), (4, 26), (6, 8), (6, 10), (6, 11)}
"""Implausible sentences with a detached particle, on whose place references may disagree."""


def known_bad(sentence: Sentence) -> set[tuple[int, str]]:
    """Clause and type of the sentence's questions that should not count."""
    same: defaultdict[str, set[str]] = defaultdict(set)
    for question in sentence.questions:
        same[question.question].add(question.answer)
    unsure = _unsure_clauses(sentence)
    return {
        (q.clause, q.type)
        for q in sentence.questions
        if _listed(sentence, q)
        or len(same[q.question]) > 1  # one question, two references: a verb that occurs twice
        or unsure & set(_told(sentence, q))
    }


def _listed(sentence: Sentence, question: Question) -> bool:
    place = (sentence.subset, sentence.level, sentence.index)
    if (*place, sentence.entities[question.clause], question.type) in _WRONG:
        return True
    if word := _WORD_IN_ANY.get(place):
        return bool(re.search(rf"\b{word}(ed)?\b", f"{question.question} {question.answer}"))
    if sentence.subset == "plausible":
        return False
    answer, text = question.answer, sentence.text
    return {
        "action_performed": answer.startswith("siren"),
        "causal_sequence": ("doing a wheelie" in answer and "wheelied" in text)
        or ("prescribing to" in answer and "prescribed medicine to" in text),
        "nested_dependency": "swum toward" in answer,
        "chain_consequence": "swum toward" in answer,
    }.get(question.type, False)


def _told(sentence: Sentence, question: Question) -> range:
    """The clauses that the question's reference tells."""
    clause, last = question.clause, len(sentence.entities) - 1
    if question.answer in FIXED:
        return range(0)
    return {
        "action_performed": range(clause, clause + 1),
        "nested_dependency": range(min(clause, last - 1), min(clause, last - 1) + 1),
        "causal_sequence": range(clause + 1, last + 1),
        "chain_consequence": range(clause - 1, clause),
    }.get(question.type, range(0))


def _unsure_clauses(sentence: Sentence) -> set[int]:
    """Clauses of the sentences in `_PARTICLES` on whose wording references disagree."""
    if sentence.subset == "plausible" or (sentence.level, sentence.index) not in _PARTICLES:
        return set()
    forms = verb_forms(sentence)
    tellings: defaultdict[int, set[tuple[str, ...]]] = defaultdict(set)
    for question in sentence.questions:
        told = _told(sentence, question)
        parts = question.answer.lower().split(CHAIN)
        for clause, part in zip(reversed(told), parts, strict=len(told) > 0):
            found = rooted(part, forms)
            subject = words(sentence.entities[clause].lower())
            start = len(subject) if found[: len(subject)] == subject else 0
            tellings[clause].add(tuple(found[start:]))
    return {clause for clause, different in tellings.items() if len(different) > 1}

"""The references, reworded and corrupted: what a sound scorer accepts, and what it must not.

Run over all questions, they measure a scorer. Corrupted are roles, order, verbs, objects, events
and numbers; what stays is that every word is the sentence's own, which is all that lemmas or the
embedding of a sentence can see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmms_causal.tasks.centerbench.answers import rooted
from lmms_causal.tasks.centerbench.verbs import CHAIN, FIXED

__all__ = ["Tally", "Variant", "tally", "variants"]

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """One answer made from a reference.

    Attributes:
        name: how it was made.
        sound: whether it is a right answer.
    """

    name: str
    sound: bool
    text: str


@dataclass
class Tally:
    """How many answers of one kind a scorer was given, and accepted."""

    sound: bool
    given: int = 0
    accepted: int = 0

    @property
    def rate(self) -> float:
        """The share it accepted."""
        return self.accepted / self.given


def tally(
    docs: Iterable[Document], accepts: Callable[[Document, str], bool]
) -> dict[tuple[str, str], Tally]:
    """The scorer's verdicts on all variants, by question type and name of the variant."""
    found: dict[tuple[str, str], Tally] = {}
    for doc in docs:
        for variant in variants(doc):
            row = found.setdefault((doc["type"], variant.name), Tally(variant.sound))
            row.given += 1
            row.accepted += bool(accepts(doc, variant.text))
    return found


def variants(doc: Document) -> Iterator[Variant]:
    """The reference itself, rewordings and corruptions that are possible for this question.

    A corruption that happens to read like the reference (the same verb twice) is left out.
    """
    reference = doc["answer"]
    yield Variant("the reference", True, reference)
    yield Variant("with a full stop", True, f"{reference}.")
    yield Variant("with a label", True, f"Answer: {reference}")
    if reference in FIXED:
        yield Variant("the other fixed phrase", True, FIXED[reference == FIXED[0]])
        yield Variant("a stop word for nothing", False, "it")
        yield Variant("an event where there is none", False, _any_event(doc))
    yield Variant("empty", False, "")
    forms = json.loads(doc["verb_forms"])
    for name, text in _CORRUPTIONS[doc["type"]](doc):
        if text and rooted(text.lower(), forms) != rooted(reference.lower(), forms):
            yield Variant(name, False, text)
    if doc["type"] == "causal_sequence" and CHAIN in reference:
        yield Variant("joined by commas", True, reference.replace(CHAIN, ", "))
    if doc["type"] == "entity_count":
        yield Variant("the number in words", True, _WORDS[int(reference)])


def _any_event(doc: Document) -> str:
    return f"the {doc['entities'][0]} {next(iter(json.loads(doc['verb_forms'])), 'acted')}"


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
Corruptions = Iterator[tuple[str, str]]


def _count(doc: Document) -> Corruptions:
    count = int(doc["answer"])
    yield "one more", str(count + 1)
    yield "one less", str(count - 1)
    yield "two numbers", f"{count} or {count + 1}"


def _agent(doc: Document) -> Corruptions:
    right = doc["answer"].lower().removeprefix("the ")
    others = [name for name in doc["entities"] if name.lower() != right]
    yield "another entity", f"the {others[0]}"
    yield "two entities", f"{doc['answer']} or the {others[0]}"


def _action(doc: Document) -> Corruptions:
    clause, entities = doc["clause"], doc["entities"]
    if clause == 0:
        yield "with an object it has not", f"{doc['answer']} the {entities[1]}"
        return
    verb, found, tail = doc["answer"].rpartition(f" the {entities[clause - 1]}")
    if not found:
        return
    yield "without the object", f"{verb}{tail}"
    yield "a pronoun for the object", f"{verb} it{tail}"
    wrong = next(name for name in entities if name not in (entities[clause - 1],))
    yield "a wrong object", f"{verb} the {wrong}{tail}"


def _nested(doc: Document) -> Corruptions:
    yield "with nothing but the entity", f"the {doc['entity']}"
    clause, last = min(doc["clause"], len(doc["entities"]) - 2), len(doc["entities"]) - 1
    name = doc["entities"][clause - 1] if clause else ""
    verb, found, tail = doc["answer"].rpartition(f" the {name}") if name else ("", "", "")
    if found:
        yield "without the object", f"{verb}{tail}"
        yield "a wrong object", f"{verb} the {doc['entities'][last]}{tail}"


def _chain(doc: Document) -> Corruptions:
    if doc["answer"] in FIXED:
        return
    told = doc["answer"].split(CHAIN)
    first = len(doc["entities"]) - 1
    parts = [_parts(doc, event, first - place) for place, event in enumerate(told)]
    events = [part for part in parts if part is not None]
    if len(events) == len(told):
        yield "subject and object swapped", CHAIN.join(_told(o, v, s, t) for s, v, o, t in events)
        verbs = [(verb, tail) for _, verb, _, tail in events]
        moved = zip(events, verbs[1:] + verbs[:1], strict=True)
        yield "verbs permuted", CHAIN.join(_told(s, v, o, t) for (s, _, o, _), (v, t) in moved)
    if len(told) > 1:
        yield "events in reverse order", CHAIN.join(reversed(told))
        yield "last event left out", CHAIN.join(told[:-1])
        yield "first event left out", CHAIN.join(told[1:])
    yield "an event told twice", CHAIN.join([*told, told[-1]])
    yield "nothing", "no prior events"


def _consequence(doc: Document) -> Corruptions:
    if doc["answer"] in FIXED:
        return
    if part := _parts(doc, doc["answer"], doc["clause"] - 1):
        subject, verb, other, tail = part
        yield "subject and object swapped", _told(other, verb, subject, tail)
        yield "without the object", f"the {subject} {verb}{tail}"
    yield "two events", CHAIN.join([doc["answer"]] * 2)
    yield "nothing", "none"


_CORRUPTIONS: dict[str, Callable[[Document], Corruptions]] = {
    "action_performed": _action,
    "agent_identification": _agent,
    "entity_count": _count,
    "nested_dependency": _nested,
    "causal_sequence": _chain,
    "chain_consequence": _consequence,
}


def _parts(doc: Document, event: str, clause: int) -> tuple[str, str, str, str] | None:
    """Subject, verb, object and rest of a clause's event; None if the reference tells another."""
    if clause < 1:
        return None
    subject, other = doc["entities"][clause], doc["entities"][clause - 1]
    if not event.startswith(f"the {subject} "):
        return None
    verb, found, tail = event[len(f"the {subject} ") :].rpartition(f" the {other}")
    return (subject, verb.removeprefix(" "), other, tail) if found else None


def _told(subject: str, verb: str, other: str, tail: str) -> str:
    return f"the {subject} {verb} the {other}{tail}"

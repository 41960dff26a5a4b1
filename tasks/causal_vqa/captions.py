"""Captions of one pair under any of the benchmark's twelve connectors, and which pairs are sound.

A row of the released files holds two captions that state the same effect and cause in opposite
order: ``sentence`` is "effect is due to cause", ``reverse_sentence`` "cause is due to effect" (some
with "is caused by"). The authors evaluate twelve connectors, each put in place of the stored one by
plain string replacement. Seven point backward ("X because Y": X is the effect), so ``sentence``
stays the right caption; five point forward ("X lead to Y": X is the cause), so
``reverse_sentence`` becomes the right one.

Source: repository limenlp/CausalVLM, commit 8bd20d0, folder ``causaltest``. The direction of each
connector is plain English; the authors' scripts print one rate without turning it round.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CONNECTORS",
    "DEFAULT_CONNECTOR",
    "STORED_CONNECTORS",
    "CaptionPair",
    "Connector",
    "connect",
]

STORED_CONNECTORS = ("is due to", "is caused by")
"""The connectors of the released captions, both backward."""


@dataclass(frozen=True)
class Connector:
    """A connector phrase, put in as it is, without inflection.

    ``forward`` means that "X connector Y" says that X is the cause.
    """

    text: str
    forward: bool = False

    @property
    def slug(self) -> str:
        """The phrase as part of an identifier: ``is_due_to``."""
        return self.text.replace(" ", "_")

    @property
    def direction(self) -> str:
        """``"forward"`` or ``"backward"``."""
        return "forward" if self.forward else "backward"


CONNECTORS = (
    Connector("is due to"),
    Connector("is caused by"),
    Connector("is a result of"),
    Connector("is the effect of"),
    Connector("is the consequence of"),
    Connector("because"),
    Connector("owe to"),
    Connector("result in", forward=True),
    Connector("cause", forward=True),
    Connector("lead to", forward=True),
    Connector("give rise to", forward=True),
    Connector("bring about to", forward=True),
)
"""The authors' twelve, in their order and spelling."""

DEFAULT_CONNECTOR = next(connector for connector in CONNECTORS if connector.text == "because")
"""The one backward connector that needs no inflection."""


@dataclass(frozen=True)
class CaptionPair:
    """Both captions under one connector.

    Attributes:
        correct: the caption that tells cause and effect the right way round.
        wrong: the other one.
        template_ok: both captions held a stored connector, so both were substituted.
        swapped: the two captions exchange the two clauses (a few rows are mere paraphrases).
        degenerate: the two captions are the same text, so there is no right answer.
    """

    correct: str
    wrong: str
    template_ok: bool
    swapped: bool
    degenerate: bool

    @property
    def clean(self) -> bool:
        """Whether the pair belongs to the ``clean`` subset."""
        return self.template_ok and self.swapped and not self.degenerate


def connect(
    sentence: str, reverse_sentence: str, connector: Connector, *, swapped: bool = True
) -> CaptionPair:
    """Put the connector into both captions and tell which one is right; runs of blanks become one.

    >>> pair = connect("It melts is due to it is hot.", "It is hot is due to it melts.",
    ...                Connector("lead to", forward=True))
    >>> pair.correct, pair.wrong
    ('It is hot lead to it melts.', 'It melts lead to it is hot.')
    """
    stated, template_ok = _substitute(sentence, connector)
    reversed_, reverse_ok = _substitute(reverse_sentence, connector)
    correct, wrong = (reversed_, stated) if connector.forward else (stated, reversed_)
    return CaptionPair(correct, wrong, template_ok and reverse_ok, swapped, correct == wrong)


def _substitute(caption: str, connector: Connector) -> tuple[str, bool]:
    reached = any(stored in caption for stored in STORED_CONNECTORS)
    for stored in STORED_CONNECTORS:
        caption = caption.replace(stored, connector.text)
    # VCR-Causal has stray blanks in 121 captions of one column and none of the other: a give-away.
    return " ".join(caption.split()), reached

"""Attention knock-out: close edges of attention, and see which way information takes.

As used by Geva et al., "Dissecting Recall of Factual Associations in Auto-Regressive Language
Models", EMNLP 2023, arXiv 2304.14767, and by many since.

Equations
---------
In the layers and heads named, the tokens of ``queries`` no longer see the tokens of ``keys``::

    M'[i,j] = 0   for i in queries and j in keys,    the softmax is over what is left

A query that has nothing left to see gets the output 0 from the head.

Cost
----
A mask instead of a causal kernel in the layers named, which are then computed by the fused kernel
all the same.

Paper and code
--------------
By default the tokens that predict the answer do not see the question, in all layers. A window of
layers, as in the paper, is ``layers=8-16``. With ``keys=image`` it is the picture's way to the
answer that is closed, with ``queries=question;keys=image`` its way into the words. A token also
loses sight of itself where it is in both spans; ``!`` takes tokens out, as in
``keys=question&!last``. Edges stay closed in decoding, with and without a cache. A token that sees
nothing gets nothing.

Published
---------
Nothing that was verified here.

Unverified
----------
The sizes of the paper's windows, and its curves. The mask is the usual definition, not taken from
its code.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmms_causal.interventions.attention.edits import AttentionEdit, Close
from lmms_causal.interventions.attention.selecting import Selected
from lmms_causal.interventions.attention.spans import parse_span
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.registry import method

__all__ = ["Knockout"]


@method
@dataclass(frozen=True)
class Knockout:
    """Parameters of attention knock-out.

    Attributes:
        queries: the tokens that see less: a span such as ``predicting`` (the prompt's last token
            and the answer), ``question``, ``last``.
        keys: the tokens that they no longer see, such as ``question``, ``image``, ``segment2``,
            ``sentence1``, ``image|system``.
        layers: such as ``8-15`` or ``1|8-15``, counted from 0, both ends included; None for all.
        heads: query heads, as ``12.3|14.0-2`` by layer, ``0|3-5`` in every layer, or ``all``.
    """

    queries: str = "predicting"
    keys: str = "question"
    layers: str | None = None
    heads: str = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", self.heads.replace(",", "|"))
        self.plan()

    def plan(self) -> Plan:
        """One edit of the mask."""
        selected = Selected.named("knockout", self.layers, self.heads)
        queries = parse_span("knockout", "queries", self.queries)
        keys = parse_span("knockout", "keys", self.keys)
        edit = AttentionEdit(
            Close(),
            selected.where(queries, keys),
            counts_tokens=(queries | keys).names_answer,
        )
        return Plan(attention=(edit,), requirements=(selected.beyond,))

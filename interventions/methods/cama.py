"""Context-aware mean ablation: up to a layer, tokens know their place and themselves only.

"All for One: LLMs Solve Mental Math at the Last Token With Information Transferred From Other
Tokens", arXiv 2509.09650.

Equations
---------
With ``x_t`` the token at place ``t`` of the prompt and ``h[l, t]`` the residual stream behind layer
``l``, for all ``l`` up to ``layer``::

    h[l, t](x)  <-  mean of h[l, t](y) over prompts y of the same template with y_t = x_t

What a token is by itself stays, what it has taken from the others of this prompt is averaged out,
and the layers behind ``layer`` have to do without it.

Cost
----
A table, made once over prompts by ``lmms_causal.interventions.edits.expectations.state_means``; its
size is places times tokens met there times layers times width. None a token.

Paper and code
--------------
The mean is over whatever prompts the table was made of, which should be many, of the task's own
template, and need not leave the prompt at hand out. Places count from the first token of a row, so
that a template whose parts differ in length has places that mean different things. Visual tokens
are one token, and are averaged as such. Tokens that the table has not met at a place are refused,
or left alone with ``missing=skip``. Only the prompt is ablated, its last token too; ``queries``
names other tokens.

Published
---------
No number was read. For Llama-3-8B the ablation is through layer 14, by a secondary source.

Unverified
----------
The layer named above, and whether the paper ablates the last token as well; the paper's text and
code, which were not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.spans import PROMPT, Span, parse_span
from lmms_causal.interventions.edits.expectations import StateTable
from lmms_causal.interventions.layers import beyond
from lmms_causal.interventions.plan import Plan, ResidualEdit
from lmms_causal.interventions.registry import method

__all__ = ["CAMA"]

_STAND_IN = "FILE#DIGEST"
_MAKE = "make one by lmms_causal.interventions.edits.expectations.state_means"


@method
@dataclass(frozen=True)
class CAMA:
    """Parameters of context-aware mean ablation.

    Attributes:
        layer: the last layer ablated, counted from 0.
        table: the file of mean states with its digest, ``FILE#DIGEST``. These very words stand for
            a table, as in the example: the spec reads, and no model runs it.
        queries: the tokens ablated, a span of the prompt.
        missing: ``refuse`` tokens that the table has not met at their place, or ``skip`` (leave)
            them.
    """

    example: ClassVar[str] = "cama(layer=14;table=FILE#DIGEST)"

    layer: int | None = None
    table: str | None = None
    queries: str = "prompt"
    missing: Literal["refuse", "skip"] = "refuse"

    def __post_init__(self) -> None:
        if self.layer is None or self.table is None:
            raise UserError(
                f"intervention cama: layer={self.layer} and table={self.table} need each other; "
                f"{_MAKE} and write cama(layer=14;table={_STAND_IN})"
            )
        if self.layer < 0:
            raise UserError(f"intervention cama: layer={self.layer} must be 0 or more")
        parse_span("cama", "queries", self.queries)
        if self.table != _STAND_IN:
            _loaded(self.table)

    def plan(self) -> Plan:
        """Mean states behind every layer up to the one named."""
        edit = ResidualEdit("cama", self.layers, self.averaged, counts_tokens=True)
        return Plan(residual=(edit,), requirements=(self.obstacle,))

    @property
    def span(self) -> Span:
        """The tokens ablated."""
        return parse_span("cama", "queries", self.queries) & PROMPT

    def layers(self, depth: int) -> range:
        """The layers ablated."""
        assert self.layer is not None
        return range(self.layer + 1)

    def averaged(self, states: Tensor, where: Coordinates) -> Tensor:
        """The residual stream ``[R, q, D]`` with the table's states in the span.

        Raises:
            UserError: the table has no state of a token at its place.
        """
        assert self.table is not None and where.layout is not None and where.tokens is not None
        chosen = self.span.resolve(where.layout)
        chosen = chosen[:, where.query_columns.to(chosen.device)].cpu()
        places, tokens = where.queries.cpu(), where.tokens.cpu()
        mean, there = _loaded(self.table).find(where.layer, places, tokens)
        lacking = chosen & ~there
        if self.missing == "refuse" and lacking.any():
            row, column = lacking.nonzero()[0].tolist()
            raise UserError(
                f"intervention cama: table={self.table} has no state of token "
                f"{int(tokens[row, column])} at place {int(places[row, column])}; make it over "
                "more prompts of this template, or leave such tokens with missing=skip"
            )
        ablated = (chosen & there)[..., None].to(states.device)
        return torch.where(ablated, mean.to(states), states)

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the method cannot run on a model, or None."""
        assert self.table is not None
        if self.table == _STAND_IN:
            return (
                f"table={_STAND_IN} is no file; with a table of the model's own states it runs: "
                f"{_MAKE}"
            )
        layers = self.layers(adapter.depth)
        reason = beyond("layer", layers, adapter.depth, "decoder layers")
        return reason or _loaded(self.table).unfit(adapter, layers)


@lru_cache(maxsize=2)
def _loaded(reference: str) -> StateTable:
    return StateTable.load(reference, "cama")

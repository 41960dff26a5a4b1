"""Activation patching: what a run of another prompt has at chosen places, put into this one.

Vig et al., "Investigating Gender Bias in Language Models Using Causal Mediation Analysis", NeurIPS
2020, arXiv 2004.12265; Meng et al., "Locating and Editing Factual Associations in GPT", NeurIPS
2022, arXiv 2202.05262.

Equations
---------
With ``x`` the prompt as asked and ``x'`` another prompt, ``h`` the residual stream behind a layer
(``at=residual``), or the output of a head before the output projection (``at=heads``)::

    h[layer, (head,) t](x)  <-  h[layer, (head,) t'](x')      for t in the span queries

``x'`` has other words (``find``, ``replace``), another picture (``image``), or both. A token ``t``
that both prompts have is its own counterpart ``t'``. Where words of several tokens are exchanged
for fewer or more, they are matched from their ends; tokens without a counterpart are left alone.

Every layer behind every token patched gives the answer that the other prompt has. One place at a
time, the change of the answer says how much of the difference between both prompts passes there.

Cost
----
One more pass over the prompt, of the other one. States are kept for the layers named only.

Paper and code
--------------
The effect of a place is usually told as (patched - clean) / (other - clean) of a difference of
logits; here the intervention is made, and the harness measures what the answers are worth. Patching
is of the prompt; what is generated afterwards follows from it. ``image=noise`` is the diffusion of
VCD at its 500th step, ``image=blank`` an even picture of the processor's mean colour. With
``layers`` left out all layers are patched.

Published
---------
No numbers of this form: the papers measure probabilities of single words in GPT-2 models.

Unverified
----------
The papers were not read for this; the method is given as it is commonly defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.edits import AttentionEdit, HeadReplace, Where
from lmms_causal.interventions.attention.heads import parse_heads, query_heads
from lmms_causal.interventions.attention.spans import PROMPT, Span, parse_span
from lmms_causal.interventions.edits.media import blanked
from lmms_causal.interventions.edits.words import Exchange
from lmms_causal.interventions.layers import beyond, listed_layers
from lmms_causal.interventions.methods.vcd import VCD
from lmms_causal.interventions.plan import Increment, Plan, Probe, ResidualEdit, WithoutImage
from lmms_causal.interventions.registry import method

__all__ = ["Patch"]

_PROBE = "patch_source"


@method
@dataclass(frozen=True)
class Patch:
    """Parameters of activation patching.

    Attributes:
        find: words of the prompt that the other prompt has not.
        replace: words that it has in their place; empty for none.
        image: the picture of the other prompt: the ``same``, ``blank``, or drowned in ``noise``.
        at: what is patched: the ``residual`` stream behind layers, or the outputs of ``heads``.
        layers: decoder layers, such as ``8`` or ``1|8-15``, counted from 0, ends included; None
            means all.
        heads: query heads with ``at=heads``, such as ``0|3-5`` or ``12.3|14.0-2``; None means all.
        queries: the tokens patched, a span of the prompt such as ``last`` or ``image``.
        missing: ``refuse`` prompts without the words of ``find``, or ``skip`` (leave) them.
        without_image: ``refuse`` prompts without an image where ``image`` is given, or ``skip``
            (leave) them.
    """

    example: ClassVar[str] = "patch(find=red;replace=wet;missing=skip;layers=0)"

    find: str | None = None
    replace: str = ""
    image: Literal["same", "blank", "noise"] = "same"
    at: Literal["residual", "heads"] = "residual"
    layers: str | None = None
    heads: str | None = None
    queries: str = "last"
    missing: Literal["refuse", "skip"] = "refuse"
    without_image: WithoutImage = "refuse"

    def __post_init__(self) -> None:
        if self.find is not None and not self.find.strip():
            raise UserError("intervention patch: find is empty; name words of the prompt")
        if self.replace and self.find is None:
            raise UserError(
                f"intervention patch: replace={self.replace} stands for words that find names; "
                "give find as well"
            )
        if self.layers is not None:
            listed_layers("patch", "layers", self.layers)
        if self.heads is not None:
            parse_heads("patch", "heads", self.heads)
            if self.at == "residual":
                raise UserError(
                    f"intervention patch: heads={self.heads} are of at=heads; the residual stream "
                    "has none"
                )
        parse_span("patch", "queries", self.queries)
        if self.image == "same" and self.find in (None, self.replace):
            raise UserError(
                f"intervention patch: with find={self.find}, replace={self.replace} and image=same "
                "the other prompt is this one; write e.g. find=red;replace=blue, or image=blank"
            )

    def plan(self) -> Plan:
        """A pass of the other prompt, and its states put in."""
        words = self.find is not None and self.find != self.replace
        residual = self.at == "residual"
        probe = Probe(
            _PROBE,
            tokens=Exchange("patch", self.find or "", self.replace, self.missing)
            if words
            else None,
            media={"same": None, "blank": blanked, "noise": noised}[self.image],
            layers=self.patched if residual else None,
            outputs=None if residual else self.patched,
        )
        shown = Increment("patch", without_image=self.without_image)
        plan = Plan(
            probes=(probe,),
            increments=() if self.image == "same" else (shown,),
            requirements=(self.obstacle,),
        )
        if residual:
            edit = ResidualEdit(
                "patch", self.patched, self.replaced, probe=_PROBE, counts_tokens=True
            )
            return plan.then(Plan(residual=(edit,)))
        where = Where(self.patched, parse_heads("patch", "heads", self.heads or "all"), self.span)
        heads = AttentionEdit(
            HeadReplace(found, known), where=where, probe=_PROBE, counts_tokens=True
        )
        return plan.then(Plan(attention=(heads,)))

    @property
    def span(self) -> Span:
        """The tokens patched."""
        return parse_span("patch", "queries", self.queries) & PROMPT

    def patched(self, depth: int) -> Sequence[int]:
        """The layers patched."""
        if self.layers is None:
            return range(depth)
        return listed_layers("patch", "layers", self.layers)

    def replaced(self, states: Tensor, where: Coordinates) -> Tensor:
        """The residual stream ``[R, q, D]`` with the other prompt's states in the span."""
        assert where.layout is not None
        other, there = where.of_probe()
        span = self.span.resolve(where.layout)[:, where.query_columns.to(where.layout.roles.device)]
        return torch.where((there & span.to(there.device))[..., None], other, states)

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the method cannot run on a model, or None."""
        if self.find is not None and adapter.tokenizer is None:
            return "patch finds words by the tokenizer, and none was given; pass processor="
        reason = beyond("layers", self.patched(adapter.depth), adapter.depth, "decoder layers")
        if reason is None and self.heads is not None:
            heads = parse_heads("patch", "heads", self.heads)
            reason = heads.beyond(adapter.depth, query_heads(adapter))
        return reason


def found(where: Coordinates) -> Tensor:
    """Outputs of heads ``[R, q, H, d]`` in the other prompt."""
    return where.of_probe()[0]


def known(where: Coordinates) -> Tensor:
    """Which queries ``[R, q]`` the other prompt has a counterpart of."""
    return where.of_probe()[1]


def noised(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The picture inputs in the noise of VCD."""
    return VCD().noised(inputs)

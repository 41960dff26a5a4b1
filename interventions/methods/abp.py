"""Attention-based peeking: in chosen layers words see nothing of each other, the last one may.

"All for One: LLMs Solve Mental Math at the Last Token With Information Transferred From Other
Tokens", arXiv 2509.09650.

Equations
---------
In the layers of ``full`` and ``alone`` every token sees the first token of its row and itself, and
nothing else. In the layers of ``full`` (a full peek), the tokens that predict the answer, the
prompt's last one and those of the answer so far, see all that they would see; in those of ``alone``
(a self peek) they see as little as others. Other layers are as they are.

With few layers of ``full``, and ``alone`` behind them, all that the answer has of the other words
must have passed in those few. With ``cama`` before them the words have not even been combined::

    cama(layer=14;table=FILE#DIGEST)+abp(full=15-16;alone=17-)

Cost
----
A mask for each layer named; attention stays fused.

Paper and code
--------------
The paper asks for a result in one token, so that only the prompt's last token predicts. Here each
token of an answer peeks as the last one does. The first token is the beginning-of-sequence token in
models that have one. Layers have no default: the numbers known for Llama-3-8B, mean ablation
through layer 14 and full peeks in layers 15 and 16, are from a secondary source, as is this form.

Published
---------
No number was read.

Unverified
----------
The layers named above; the paper's text and code, which were not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.edits import AttentionEdit, Close, Where
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.spans import BOS, PREDICTING
from lmms_causal.interventions.layers import beyond, listed_layers
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.registry import method

__all__ = ["ABP", "others"]

_OPEN = re.compile(r"(\d+)-")


@method
@dataclass(frozen=True)
class ABP:
    """Parameters of attention-based peeking.

    Attributes:
        full: layers in which the predicting tokens see everything, such as ``15-16``, counted from
            0, ends included; ``17-`` goes on to the last layer. None: no such layers.
            One of ``full`` and ``alone`` must name some.
        alone: layers in which they see the first token and themselves only. None: no such layers.
    """

    example: ClassVar[str] = "abp(full=0;alone=1-)"

    full: str | None = None
    alone: str | None = None

    def __post_init__(self) -> None:
        if self.full is None and self.alone is None:
            raise UserError(
                "intervention abp: full=None and alone=None name no layer; write e.g. "
                "abp(full=15-16;alone=17-)"
            )
        for name in ("full", "alone"):
            if getattr(self, name) is not None:
                self.layers(name, 0)

    def plan(self) -> Plan:
        """Columns closed, in the layers of each kind."""
        edits = []
        if self.full is not None:
            at = Where(self.peeking, queries=~PREDICTING, keys=~BOS)
            edits.append(AttentionEdit(Close(others), at, counts_tokens=True))
        if self.alone is not None:
            at = Where(self.not_peeking, keys=~BOS)
            edits.append(AttentionEdit(Close(others), at))
        return Plan(attention=tuple(edits), requirements=(self.obstacle,))

    def peeking(self, depth: int) -> Sequence[int]:
        """The layers of ``full``."""
        return self.layers("full", depth)

    def not_peeking(self, depth: int) -> Sequence[int]:
        """The layers of ``alone``."""
        return self.layers("alone", depth)

    def layers(self, name: str, depth: int) -> tuple[int, ...]:
        """The layers that a parameter names, in a model with ``depth`` of them."""
        text = getattr(self, name)
        if text is None:
            return ()
        parts = []
        for part in text.split("|"):
            match = _OPEN.fullmatch(part.strip())
            parts.append(f"{match[1]}-{max(depth - 1, int(match[1]))}" if match else part)
        return listed_layers("abp", name, "|".join(parts))

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the method cannot run on a model, or None."""
        depth = adapter.depth
        for name in ("full", "alone"):
            layers = self.layers(name, depth)
            if layers and (reason := beyond(name, layers, depth, "decoder layers")) is not None:
                return reason
        shared = sorted({*self.peeking(depth)} & {*self.not_peeking(depth)})
        if shared:
            return f"full={self.full} and alone={self.alone} both name layer {shared[0]}"
        return None


def others(layout: Layout, queries: Tensor, keys: Tensor) -> Tensor:
    """Every pair of a query and a key that is not the same token, ``[1, q, n]`` bool."""
    return (queries[:, None] != keys[None])[None]

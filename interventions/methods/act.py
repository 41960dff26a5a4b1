"""Attention calibration: move attention from sinks, which mean little, to the rest of each row.

Yu et al., "Unveiling and Harnessing Hidden Attention Sinks: Enhancing Large Language Models without
Training through Attention Calibration" (ACT), ICML 2024, arXiv 2406.15765; code GATECH-EIC/ACT.

Equations
---------
With ``A`` the weights of a head over a prompt of ``N`` tokens, counted from 0, the mean that token
``j`` gets from the tokens that may see it is::

    mu_j = (sum_i A[i,j]) / (N - j)

The sinks ``S`` are the tokens, the first one apart, with ``mu_j`` above the threshold. In every
row, with ``m`` its weight on sinks::

    A'[j] = beta A[j]                            j in S
    A'[j] = A[j] (1 + (1 - beta) m / (1 - m))    elsewhere

so that rows still sum to 1. A row with all of its weight on sinks stays as it is.

Cost
----
Explicit weights in the layers and for the heads named, twice for the prompt; no further pass.

Paper and code
--------------
The code calibrates layers 2 to 30 of 32 (the first two and the last are left alone), in heads that
its authors selected: those that alone improve a model on training examples. Their lists come with
this method, ``heads=llama2-7b-chat/classification`` and others: ``llama2-7b-chat/multiple_choice``,
``llama2-7b-chat/mt_bench``, ``mistral-7b-instruct-v0.2/classification`` and
``mistral-7b-instruct-v0.2/multiple_choice``, the last two with layers 2 to 31. The default is all
heads. The code's own evaluation takes the first list for multiple choice as well, and its patch for
Mistral never runs. Without ``layers`` other models are calibrated in all but the first two layers
and the last; those of less than four layers in all, which is ours.

The threshold is 0.1 in the code (0.15 for MT-Bench); ``alpha_over_n=5`` is ``5 / N``, said to be
the paper's. The code means to spare the first token, but takes the first *sink* off its list,
another one where the first token is not above the threshold: ``parity=true``.

With a cache, the code takes the one new row for the mean, and gives the first token the weight 1,
so that rows no longer sum to 1; its evaluations answer in one pass. Here, which is our choice, the
sinks of the prompt are kept, and every later row is calibrated with them. When a text is scored,
sinks are those of the prompt too: they do not depend on the answer.

Published
---------
Abstract: up to 7.30 per cent more accuracy on average (Llama-30B).

Unverified
----------
The paper's form of the threshold; its tables; how heads were kept by the authors. Nothing is known
of its use with pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.edits import AttentionEdit, Calibrate
from lmms_causal.interventions.attention.published_heads import calibrated_heads
from lmms_causal.interventions.attention.selecting import Selected
from lmms_causal.interventions.layers import listed_layers
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.ranges import check_positive, check_share
from lmms_causal.interventions.registry import method

__all__ = ["ACT", "calibrated_layers"]


@method
@dataclass(frozen=True)
class ACT:
    """Parameters of attention calibration.

    Attributes:
        beta: what is left of a sink's weight, in [0, 1]; 1 turns the method off.
        threshold: mean weight above which a token is a sink; None means 0.1; 1 or more turns the
            method off.
        alpha_over_n: instead of ``threshold``, divided by the number of the prompt's tokens.
        heads: query heads, as ``12.3|14.0-2`` by layer, ``0|3-5`` in every layer, ``all``, or a
            list of the authors', such as ``llama2-7b-chat/classification``.
        layers: such as ``2-30``, counted from 0, both ends included; None means the authors' where
            heads are a list of theirs, else all but the first two and the last.
        parity: whether the first sink found is spared, whichever it is, rather than the first
            token.
    """

    beta: float = 0.4
    threshold: float | None = None
    alpha_over_n: float | None = None
    heads: str = "all"
    layers: str | None = None
    parity: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", self.heads.replace(",", "|"))
        check_share(self, "beta")
        check_positive(self, "threshold", "alpha_over_n")
        if self.threshold is not None and self.alpha_over_n is not None:
            raise UserError(
                f"intervention act: threshold={self.threshold} and alpha_over_n="
                f"{self.alpha_over_n} are two thresholds; name one"
            )
        self.selected()

    def selected(self) -> Selected:
        """The heads, and the layers where they are named."""
        if "/" not in self.heads:
            return Selected.named("act", self.layers, self.heads)
        layers, heads = calibrated_heads(self.heads)
        return Selected(listed_layers("act", "layers", self.layers or layers), heads)

    def plan(self) -> Plan:
        """One edit of the weights; nothing at beta 1 or a threshold that no mean is above."""
        if self.beta == 1 or (self.threshold or 0) >= 1:
            return Plan()
        selected = self.selected()
        where = selected.where()
        if selected.layers is None:
            where = replace(where, layers=self.layers_of)
        threshold = 0.1 if self.threshold is None else self.threshold
        operation = Calibrate(
            self.beta,
            threshold if self.alpha_over_n is None else None,
            5.0 if self.alpha_over_n is None else self.alpha_over_n,
            self.parity,
        )
        edit = AttentionEdit(operation, where, counts_tokens=True)
        return Plan(attention=(edit,), requirements=(self.obstacle,))

    def layers_of(self, depth: int) -> Sequence[int]:
        """The layers calibrated where none are named."""
        having = self.selected().of(depth)
        return [layer for layer in calibrated_layers(depth) if layer in having]

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the heads cannot be had from a model, or None."""
        return self.selected().beyond(adapter)


def calibrated_layers(depth: int) -> range:
    """Return all layers but the first two and the last; all of a model of less than four."""
    return range(2, depth - 1) if depth >= 4 else range(depth)

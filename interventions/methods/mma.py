"""Modality-mutual attention (untrained): pictures see the question that is asked about them.

"Seeing is Understanding: Unlocking Causal Attention into Modality-Mutual Attention for Multimodal
LLMs" (AKI), arXiv 2503.02597; code sony/aki.

MMA is a way to *train*: instruction tuning is done with it. On a model that was not trained so,
this is an ablation of ours, to be reported as "mma (untrained)"; the paper has no such result. The
released weights, ``Sony/AKI-4B-phi-3.5-mini``, cannot be loaded here: their model, a Phi-3.5 behind
a perceiver resampler, is no class of transformers.

Equations
---------
With a picture's tokens at ``[a, b)`` and the user's turn ending at ``e``,

    query i sees key j    where j <= i, or a <= i < b and b <= j < e

Pictures stay causal among themselves, and so does all text. The answer is not part of ``[b, e)``:
picture tokens that see it would carry it back to its own beginning.

Cost
----
In the prompt's pass attention takes a mask, of the prompt's length squared. Nothing in decoding.

Paper and code
--------------
With several pictures, here each sees the text behind it, and no other picture's tokens; the code
builds its mask anew for every picture, which works for one. Its block ends at the token that
opens the assistant's turn, and by our count includes it: it moves the end by a picture's number of
tokens, where a placeholder is taken away as well. Here the template's words behind the user's turn
are left out, where the host says where the turn ends (a prompt passed to the model as it is counts
as the user's to its end). A text that is scored must say where its answer begins. All passes read
in this way, those of contrasts too. A prompt without a picture, or without words behind it, is
untouched.

Published
---------
Trained without MMA to trained with it, same data, pictures before text (table 1 of the code's
readme): MME-P 1226.3 to 1363.7, MMBench 64.9 to 71.8, SEED-I 64.1 to 67.1, LLaVA-W 47.0 to 59.6,
MMMU 31.1 to 37.3, MathVista-mini 24.2 to 26.4, POPE 79.8 to 82.7, MM-Vet 24.3 to 30.2, RealWorldQA
50.6 to 52.3, CV-Bench 2D 45.2 to 57.8, 3D 54.3 to 64.1.

Unverified
----------
Any result of a model that was not trained with it; the paper's text, of which abstract and notes
were read.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.edits import AttentionEdit, Open, Where
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.spans import GENERATED, IMAGE, TAIL
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.registry import method

__all__ = ["MMA"]

_TEXT = ~(IMAGE | TAIL | GENERATED)
"""All text up to the end of the user's last turn."""


@method
@dataclass(frozen=True)
class MMA:
    """Modality-mutual attention has no parameters."""

    def plan(self) -> Plan:
        """Pictures see the text of the prompt behind them, in all passes."""
        edit = AttentionEdit(
            Open(later),
            Where(queries=IMAGE, keys=_TEXT),
            everywhere=True,
            counts_tokens=True,
        )
        return Plan(attention=(edit,), requirements=(self.obstacle,))

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the method cannot run on a model, or None."""
        if not adapter.sees:
            return "mma opens attention from pictures, and the model reads text only"
        return None


def later(layout: Layout, queries: Tensor, keys: Tensor) -> Tensor:
    """Return which keys are behind the query, ``[1, q, n]`` bool."""
    return (keys[None] > queries[:, None])[None]

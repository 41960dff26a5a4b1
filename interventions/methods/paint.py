"""PAINT: raise the scores of the picture tokens that the vision encoder itself attends to.

"Fixing Imbalanced Attention to Mitigate In-Context Hallucination of Large Vision-Language Model"
(PAINT), arXiv 2501.12206; code hasanar1f/PAINT.

Equations
---------
With ``A_1`` and ``A_p`` the attention of the class token to each patch, summed over heads, in the
first and in the last but one block of the vision encoder::

    local    the local_ratio of all patches with the largest A_1
    summary  the patches with A_p > Q3 + 1.5 (Q3 - Q1), of the quartiles of A_p
    local    <-  (local or spatial) without summary

``spatial`` is the spatial_ratio of all patches that get most attention from all tokens in the first
block; none by default. In the decoder, with ``s`` the scaled score before the softmax, for every
token that predicts the answer, in all heads of the layers concerned,

    s <- s + alpha |s| for local tokens,  s + beta |s| for summary tokens

Then, as in PAI, with ``l`` and ``u`` the log-probabilities with and without the picture, decoding
uses ``gamma l - (gamma - 1) u`` on the tokens with ``p >= cutoff max p`` under ``l``; the branch
without the picture has its attention unchanged. ``gamma=1`` leaves this part out, ``alpha=0`` with
``beta=0`` the other.

Cost
----
Two passes a token, the second without the picture; one further encoding of the pictures; one query
a token and head has its weights written out. Of the encoder two numbers a patch are kept.

Paper and code
--------------
The abstract speaks of heads; the code treats all alike, as here. Its strengths are 0.7 and 0.3, in
layers 2 to 31 of 32 (here: all but the first two); the paper's best row is said to have 0.4 for the
latter. For ``spatial`` the code adds up the softmax of each row, which is 1 for all: what it takes
is arbitrary. Here columns are added up, the attention that a patch gets. As in PAI's code, on which
it is built, with the contrast on the first token of an answer is predicted without raised scores;
``variant=release`` does the same. Several pictures, each with tokens of its own, are ours.

It needs a class token, and one decoder token a patch: LLaVA-1.5 and models like it.

Published
---------
LLaVA-1.5-7B, CHAIR on COCO (512 tokens), CHAIR_S / CHAIR_I / F1, from a copy of the paper's table:
46.2/13.8/75.9 to 17.6/4.0/71.8, with 5 per cent spatial tokens 15.4/4.8/69.8; PAI 24.6/6.8/74.7.
It depends on the strength: ``alpha`` 0.5, 0.7, 0.8 has CHAIR_S 49.4, 18.0, 4.6 and F1 77.0, 72.0,
51.1. Captions get about twice as long.

Unverified
----------
All tables against the paper itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.edits import AttentionEdit, Gain, Where
from lmms_causal.interventions.attention.spans import GENERATED, IMAGE, PREDICTING
from lmms_causal.interventions.branches import TEXT_ONLY, text_only
from lmms_causal.interventions.edits.logits import contrast
from lmms_causal.interventions.layers import all_but_first, beyond, named_layers
from lmms_causal.interventions.plan import Increment, Plan, Probe, Signals, WithoutImage
from lmms_causal.interventions.ranges import check_not_negative, check_share
from lmms_causal.interventions.registry import method

__all__ = ["PAINT", "largest", "outliers"]

_PROBE = "paint_vision"


@method
@dataclass(frozen=True)
class PAINT:
    """Parameters of PAINT.

    Attributes:
        alpha: strength for local tokens.
        beta: strength for summary tokens.
        gamma: strength of the contrast; 1 turns it off, cutoff included.
        cutoff: plausibility threshold in [0, 1] of the contrast; 0 keeps every token.
        local_ratio: share of the patches that are local, in [0, 1].
        spatial_ratio: share of the patches that are spatial, in [0, 1].
        layers: decoder layers with raised scores, such as ``2-31``, counted from 0, both ends
            included; None means all but the first two.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them.
        variant: ``paper``, or ``release``, where with the contrast on scores are raised from the
            second token on.
    """

    alpha: float = 0.7
    beta: float = 0.3
    gamma: float = 1.1
    cutoff: float = 0.1
    local_ratio: float = 0.25
    spatial_ratio: float = 0.0
    layers: str | None = None
    without_image: WithoutImage = "refuse"
    variant: Literal["paper", "release"] = "paper"

    def __post_init__(self) -> None:
        check_not_negative(self, "alpha", "beta", "gamma")
        check_share(self, "cutoff", "local_ratio", "spatial_ratio")
        if self.layers is not None:
            named_layers("paint", "layers", self.layers)

    def plan(self) -> Plan:
        """The parts that have an effect: raised scores; the text-only branch and its contrast."""
        plan = Plan()
        if self.gamma != 1:
            increment = Increment("paint", self.increment, (TEXT_ONLY,), beta=self.cutoff)
            plan = Plan(branches=(text_only(self.without_image),), increments=(increment,))
        if self.alpha == 0 and self.beta == 0:
            return plan
        late = self.variant == "release" and self.gamma != 1
        where = Where(self.edited, queries=GENERATED if late else PREDICTING, keys=IMAGE)
        edit = AttentionEdit(Gain(self.amounts), where, probe=_PROBE, counts_tokens=True)
        alone = (Increment("paint", without_image=self.without_image),)
        raised = Plan(
            attention=(edit,),
            probes=(Probe(_PROBE, vision=watched_blocks),),
            increments=() if plan.increments else alone,
            requirements=(self.obstacle,),
        )
        return raised.then(plan)

    def increment(self, signals: Signals) -> Tensor:
        """``(gamma - 1) (l - u)``, ``[B, K, V]``; equal to the formula up to a constant."""
        return contrast(signals.factual, signals.branches[TEXT_ONLY], self.gamma - 1)

    def amounts(self, where: Coordinates) -> Tensor:
        """What ``|s|`` of each key is multiplied by, ``[R, n]``; 0 outside pictures."""
        assert where.layout is not None
        keys = where.key_columns
        if not where.vision:
            return torch.zeros(len(where.layout.roles), len(keys), device=keys.device)
        if "amounts" not in where.memory:
            where.memory["amounts"] = self.strengths(where.vision)
        by_picture: Tensor = where.memory["amounts"]
        view, place = (found.to(by_picture.device) for found in where.layout.views())
        counts = view.amax(dim=1) + 1
        # rows made of one prompt (beams) are side by side, and its pictures were encoded once
        repeats = int(counts.sum()) // len(by_picture)
        first = counts[::repeats].cumsum(dim=0) - counts[::repeats]
        picture = (first.repeat_interleave(repeats)[:, None] + view).clamp(
            min=0, max=len(by_picture) - 1
        )
        found = by_picture[picture, place.clamp(min=0)]
        return torch.where(view < 0, 0.0, found).to(keys.device)[:, keys]

    def strengths(self, vision: dict[int, Tensor]) -> Tensor:
        """``alpha``, ``beta`` or 0 for each patch, ``[pictures, P]``.

        Args:
            vision: attention ``[pictures, 2, 1 + P]`` in the first block and the last but one.
        """
        early, late = vision[min(vision)][..., 1:], vision[max(vision)][:, 0, 1:]
        summary = outliers(late)
        local = largest(early[:, 0], self.local_ratio) | largest(early[:, 1], self.spatial_ratio)
        strength = torch.where(local & ~summary, self.alpha, 0.0)
        return torch.where(summary, self.beta, strength)

    def edited(self, depth: int) -> Sequence[int]:
        """The layers in which scores are raised."""
        if self.layers is None:
            return all_but_first(depth, 2)
        return named_layers("paint", "layers", self.layers)

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why scores cannot be raised in a model, or None."""
        if not adapter.sees:
            return None if self.without_image == "skip" else "paint needs a picture to look at"
        if adapter.family is None or adapter.family.overview != "whole":
            return (
                "paint needs one decoder token for each patch of a whole picture, as in LLaVA-1.5, "
                "and this model cuts or pools its pictures"
            )
        if not hasattr(getattr(adapter.tower, "embeddings", None), "class_embedding"):
            return "paint reads the attention of a class token, and its vision encoder has none"
        if self.layers is None:
            return None
        return beyond("layers", self.edited(adapter.depth), adapter.depth, "decoder layers")


def watched_blocks(count: int) -> Sequence[int]:
    """Return the first of the vision encoder's blocks, and the last but one."""
    return sorted({0, max(count - 2, 0)})


def largest(values: Tensor, ratio: float) -> Tensor:
    """Return which are the ``int(ratio P)`` largest of each row ``[..., P]``; earlier first."""
    order = values.argsort(dim=-1, descending=True, stable=True)
    count = int(ratio * values.shape[-1])
    chosen = torch.zeros_like(values, dtype=torch.bool)
    return chosen.scatter(-1, order[..., :count], True)


def outliers(values: Tensor) -> Tensor:
    """Return which are above ``Q3 + 1.5 (Q3 - Q1)`` of their row ``[..., P]``."""
    at = torch.tensor([0.25, 0.75], dtype=values.dtype, device=values.device)
    lower, upper = values.quantile(at, dim=-1, keepdim=True)
    return values > upper + 1.5 * (upper - lower)

"""CausalMM: contrast the answer with the answer under counterfactual attention.

Zhou et al., "Mitigating Modality Prior-Induced Hallucinations in Multimodal Large Language Models
via Deciphering Attention Causality", ICLR 2025, arXiv 2410.04780; code The-Martyr/CausalMM.

Equations
---------
What attention contributes is taken to be the difference between the logits ``l`` of the model and
those of the model under ``do(A = a)``: ``c_v`` with other attention in the vision encoder, ``c_l``
with other attention in the decoder. Each counterfactual pass changes one of the two::

    l + gamma (l - c_v)                            modality=vision
    l + gamma (l - c_l)                            modality=language
    l + gamma (l - c_v) + gamma (l - c_l)          modality=both

on the tokens with ``p >= epsilon max p`` under ``l``. A row ``w`` of weights after the softmax is
replaced by ``e / sum e``, of which ``e`` is, at the positions that the row may attend to,

    random: draws from U(0, 1)    uniform: 1    reversed: max w - w    shuffled: w in another order

A row whose ``sum e`` is below 1e-12 stays as it is (reversed: a row of one position).

Cost
----
Two passes a token, three for both. For the vision branch one further encoding of the pictures; in
the layers edited explicit weights, ``q x n`` a head.

Paper and code
--------------
``variant=paper`` is the above: weights are replaced inside the model, in every pass. A draw is a
hash of seed, document, layer, head, query and key, so that it is the same with and without a cache
and in any batch; in the vision encoder, where tiles (and windows) share draws, of all but the
document.

``variant=release`` is what the code does. Nothing is replaced inside the encoder. The attention
map of the block that makes the features, edited as a whole, is resized as if it were a picture
(bilinear, to the grid of patches), averaged over heads, and multiplies the features before the
projector: random ``2 U(0, 1)``, uniform the mean of the map, reversed its maximum minus the map,
shuffled one permutation of all entries a head. So uniform and shuffled scale the features by about
one over the number of vision tokens, which all but blanks the picture. It needs an encoder that
sees square pictures. In the decoder rows are not renormalised: random is divided by the sum of the
draws for all ``n`` tokens of the pass, later ones included, uniform is ``1/n``, reversed ``max w -
w``. The code also has a normalised reversed kind, whose first row is 0/0 and makes every logit NaN;
it is left out (``paper`` is the same without the defect). Where the code takes the triangle of
earlier tokens, whatever the padding, here the model's own mask is taken. Both branches are run for
the first token only: the code gives them the factual cache, so that later ones are factual. The
code always shuffles, has no shuffled kind in the decoder, and no runnable decoder part.

The strengths in the code are ``gamma`` 1 and ``epsilon`` 0.1 by its command line, 0.5 and 0.1 in
its sampler, 1 and 0.6 in its POPE script. With 0.6 a yes can become a no only where the latter has
0.6 of its probability. The cutoff as printed in the paper shifts all logits alike, by a reader's
account, and excludes nothing; this is the code's.

Published
---------
Abstract: up to 65.3 per cent more on six indicators of VLind-Bench, 164 points more on MME.
LLaVA-1.5, POPE adversarial, accuracy, regular to both modalities, sampled at temperature 1: COCO
78.63 to 83.70, A-OKVQA 74.26 to 77.86, GQA 75.16 to 79.53 (by a reader's notes).

Unverified
----------
The layers edited: the defaults here are the vision blocks whose outputs reach the decoder, and the
middle third of the decoder, which an ablation is said to favour, with random as the best kind. The
full tables; ``gamma`` and ``epsilon`` of everything but POPE with LLaVA.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.edits import AttentionEdit, Replace, Where
from lmms_causal.interventions.edits.counterfactual import (
    Kind,
    released_factors,
    released_rows,
    replaced,
)
from lmms_causal.interventions.edits.logits import contrast
from lmms_causal.interventions.edits.vision import edited_weights, scaled_features
from lmms_causal.interventions.layers import beyond, named_layers
from lmms_causal.interventions.plan import Branch, Increment, Plan, Signals, WithoutImage
from lmms_causal.interventions.ranges import check_not_negative, check_share
from lmms_causal.interventions.registry import method

__all__ = ["CausalMM", "middle_third"]

_VISION = "causalmm_vision"
_LANGUAGE = "causalmm_language"


@method
@dataclass(frozen=True)
class CausalMM:
    """Parameters of decoding against counterfactual attention.

    Attributes:
        modality: where attention is changed: ``vision`` (the encoder), ``language`` (the decoder,
            of text models too), or ``both``, in a pass each.
        kind: what replaces it: ``random``, ``uniform``, ``reversed`` or ``shuffled``.
        gamma: strength of the contrast; 0 turns it off.
        epsilon: plausibility threshold in [0, 1]; 0 keeps every token.
        vision_layers: blocks of the encoder, such as ``20-22``, counted from 0; None means those
            whose outputs reach the decoder, which ``variant=release`` always takes.
        text_layers: decoder layers, such as ``8-15``; None means the middle third.
        seed: global seed of the draws.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them; not read with
            ``modality=language``.
        variant: ``paper``, or ``release``.
    """

    modality: Literal["vision", "language", "both"] = "both"
    kind: Kind = "random"
    gamma: float = 1.0
    epsilon: float = 0.1
    vision_layers: str | None = None
    text_layers: str | None = None
    seed: int = 0
    without_image: WithoutImage = "refuse"
    variant: Literal["paper", "release"] = "paper"

    def __post_init__(self) -> None:
        check_not_negative(self, "gamma")
        check_share(self, "epsilon")
        for name in ("vision_layers", "text_layers"):
            if (text := getattr(self, name)) is not None:
                named_layers("causalmm", name, text)
        if self.variant == "release" and self.vision_layers is not None:
            raise UserError(
                f"intervention causalmm: vision_layers={self.vision_layers} must be left out with "
                "variant=release, which takes the block that makes the features"
            )
        if self.variant == "release" and self.kind == "shuffled" and self.modality != "vision":
            raise UserError(
                "intervention causalmm: kind=shuffled must come with modality=vision in "
                "variant=release, which has no such kind for the decoder"
            )

    def plan(self) -> Plan:
        """A branch a modality and the contrast with each; nothing if no part has an effect."""
        if self.gamma == 0:
            return Plan(increments=(Increment("causalmm", beta=self.epsilon),) * bool(self.epsilon))
        once = self.variant == "release"
        branches = []
        if self.modality != "language":
            branches.append(
                Branch(
                    _VISION,
                    vision=self.vision,
                    without_image=self.without_image,
                    first_token_only=once,
                )
            )
        if self.modality != "vision":
            branches.append(
                Branch(
                    _LANGUAGE,
                    attention=(AttentionEdit(Replace(self.weights), Where(layers=self.layers)),),
                    without_image=None if self.modality == "language" else self.without_image,
                    first_token_only=once,
                )
            )
        names = tuple(branch.name for branch in branches)
        increment = Increment("causalmm", self.increment, branches=names, beta=self.epsilon)
        return Plan(tuple(branches), (increment,), requirements=(self.obstacle,))

    def increment(self, signals: Signals) -> Tensor:
        """``gamma (l - c)``, summed over the counterfactuals, ``[B, K, V]``."""
        names = {"vision": [_VISION], "language": [_LANGUAGE], "both": [_VISION, _LANGUAGE]}
        total = torch.zeros_like(signals.factual)
        for name in names[self.modality]:
            total = total + contrast(signals.factual, signals.branches[name], self.gamma)
        return total

    def layers(self, depth: int) -> Sequence[int]:
        """The decoder layers edited."""
        if self.text_layers is None:
            return middle_third(depth)
        return named_layers("causalmm", "text_layers", self.text_layers)

    def weights(self, weights: Tensor, allowed: Tensor, where: Coordinates) -> Tensor:
        """Counterfactual attention weights, ``[R, H, q, n]``."""
        rows = replaced if self.variant == "paper" else released_rows
        return rows(self.kind, weights, allowed, where, self.seed)

    def factors(self, weights: Tensor, where: Coordinates) -> Tensor:
        """What the features of each patch are multiplied by, ``[R, P]``."""
        return released_factors(self.kind, weights, where, self.seed)

    def vision(self, adapter: ModelAdapter) -> AbstractContextManager[Any]:
        """The scope in which pictures are encoded for the vision branch."""
        if self.variant == "release":
            return scaled_features(adapter, self.factors)
        blocks: Sequence[int] = adapter.feature_blocks
        if self.vision_layers is not None:
            blocks = named_layers("causalmm", "vision_layers", self.vision_layers)
        return edited_weights(adapter, blocks, self.weights)

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the method cannot run on a model, or None."""
        if self.modality != "vision" and self.text_layers is not None:
            layers = named_layers("causalmm", "text_layers", self.text_layers)
            if reason := beyond("text_layers", layers, adapter.depth, "decoder layers"):
                return reason
        if self.modality == "language":
            return None
        if not adapter.sees:
            if self.without_image == "skip":
                return None
            return (
                "causalmm needs a picture, and the model reads text only; use modality=language, "
                "or without_image=skip to do nothing"
            )
        if self.vision_layers is not None:
            layers = named_layers("causalmm", "vision_layers", self.vision_layers)
            return beyond("vision_layers", layers, len(adapter.blocks), "vision blocks")
        if self.variant == "release" and not (adapter.family and adapter.family.square):
            return (
                "causalmm(variant=release) needs a vision encoder that sees square pictures in a "
                "grid of patches; use variant=paper"
            )
        return None


def middle_third(depth: int) -> range:
    """Return the layers ``L//3`` to ``2L//3``, the latter excluded; one layer at least."""
    first = depth // 3
    return range(first, max(2 * depth // 3, first + 1))

"""Vision-aware head reinforcement: scale up the heads whose outputs depend on the picture.

He et al., "Cracking the Code of Hallucination in LVLMs with Vision-aware Head Divergence", ACL
2025, arXiv 2412.13949 (version 3).

Equations
---------
With ``o(h)`` the output of head ``h`` of a layer, before the output projection, at the prompt's
last token, and ``u(h)`` the same for the prompt without its pictures, in each layer concerned::

    VHD(h) = | o(h) - u(h) |
    VHD(h) = 0    where VHD(h) > mean + std  and  |u(h)|^2 > mean + std    over the layer's heads
    o(h)  <-  alpha o(h)    where VHD(h) > median VHD

for all tokens of the prompt and of the answer. Heads are chosen once a prompt, when its last token
is read, layer by layer: what a layer is given has been through the reinforced layers before it.

Cost
----
One further pass over the prompt without its pictures. The outputs of heads are scaled behind the
model's own attention kernel, which stays as it is.

Paper and code
--------------
The method is taken from the paper; the authors' code could not be read. Layers are the second and
the last 14 of 32 in the paper's LLaVA models (the last 18 for InstructBLIP); for other depths the
default is the second and the last ``round(14 L / 32)``, which is ours. Pictures are removed with
the special tokens around them and later tokens move up (``text_branch_input=drop``), as in a port
by others; ``blank`` keeps the placeholders and shows blank pictures, which is another measure. When
answers are scored, heads are chosen at the prompt's last token, so that all answers to a prompt are
read by one model. The median of an even number of heads is the lower of the middle two: half of the
heads are chosen, with distinct values. Differences of the size of rounding count as none, which
matters where a layer's window has passed the picture by. ``filter_outliers=false`` leaves the
second line out, as in an ablation of the paper.

Published
---------
CHAIR, 5 times 500 pictures of COCO, 512 tokens, CHAIR_S / CHAIR_I: LLaVA-1.5 49.68/14.32 to
33.32/9.71, InstructBLIP 45.32/12.98 to 37.76/9.75, LLaVA-NeXT 29.08/8.08 to 24.96/6.80. POPE, F1,
in the same order: 84.98 to 85.47, 85.36 to 85.52, to 88.87. LLaVA-1.5 on CHAIR: the second layer
only 40.80/12.00, the last 14 only 41.96/12.56, no filter 36.88/10.36, ``alpha`` 3 27.04/8.68,
``alpha`` 4 3.64/2.01, where captions degenerate.

Unverified
----------
Whether the standard deviation is that of a sample, as here, or of a population; whether the pass
without pictures is reinforced as well: here it is plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.edits import AttentionEdit, HeadScale, Where
from lmms_causal.interventions.edits.media import blanked
from lmms_causal.interventions.edits.tokens import without_media
from lmms_causal.interventions.layers import beyond, listed_layers
from lmms_causal.interventions.plan import Increment, Plan, Probe, WithoutImage
from lmms_causal.interventions.ranges import check_not_negative
from lmms_causal.interventions.registry import method

__all__ = ["VHR", "chosen_heads", "released_layers"]

_PROBE = "vhr_without_picture"
_ROUNDING = 1e-5


@method
@dataclass(frozen=True)
class VHR:
    """Parameters of vision-aware head reinforcement.

    Attributes:
        alpha: what the outputs of the chosen heads are multiplied by; 1 turns the method off.
        layers: decoder layers, such as ``1|18-31``, counted from 0, ends included; None means the
            second and the last 14 of 32, scaled to the model's depth.
        filter_outliers: whether heads that answer strongly to the text alone are left out.
        text_branch_input: ``drop`` removes pictures from the other prompt, ``blank`` shows blank
            ones.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them.
    """

    alpha: float = 2.0
    layers: str | None = None
    filter_outliers: bool = True
    text_branch_input: Literal["drop", "blank"] = "drop"
    without_image: WithoutImage = "refuse"

    def __post_init__(self) -> None:
        check_not_negative(self, "alpha")
        if self.layers is not None:
            listed_layers("vhr", "layers", self.layers)

    def plan(self) -> Plan:
        """The probe without pictures, and heads scaled by what it finds; nothing at alpha 1."""
        if self.alpha == 1:
            return Plan()
        drop = self.text_branch_input == "drop"
        probe = Probe(
            _PROBE,
            tokens=without_media if drop else None,
            media=None if drop else blanked,
            heads=True,
        )
        edit = AttentionEdit(
            HeadScale(self.factors),
            Where(layers=self.reinforced),
            probe=_PROBE,
            counts_tokens=True,
        )
        return Plan(
            attention=(edit,),
            probes=(probe,),
            increments=(Increment("vhr", without_image=self.without_image),),
            requirements=(self.obstacle,),
        )

    def factors(self, shown: Tensor, hidden: Tensor) -> Tensor:
        """``alpha`` for the chosen heads and 1 for others, ``[R, H]``, from outputs [R, H, d]."""
        chosen = chosen_heads(shown, hidden, filter_outliers=self.filter_outliers)
        return torch.where(chosen, self.alpha, 1.0)

    def reinforced(self, depth: int) -> Sequence[int]:
        """The layers in which heads are chosen."""
        if self.layers is None:
            return released_layers(depth)
        return listed_layers("vhr", "layers", self.layers)

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the method cannot run on a model, or None."""
        if self.layers is None:
            return None
        return beyond("layers", self.reinforced(adapter.depth), adapter.depth, "decoder layers")


def chosen_heads(shown: Tensor, hidden: Tensor, *, filter_outliers: bool = True) -> Tensor:
    """Return which heads to reinforce, ``[R, H]`` bool.

    Args:
        shown: outputs ``[R, H, d]`` of a layer's heads with the picture.
        hidden: without it.
        filter_outliers: whether heads far above the layer's mean in both are left out.
    """
    divergence = (shown - hidden).norm(dim=-1)
    # rounding is no divergence: a layer with a window may have no picture in sight
    divergence = torch.where(divergence > _ROUNDING * shown.norm(dim=-1), divergence, 0.0)
    if filter_outliers and divergence.shape[-1] > 1:
        text = hidden.square().sum(dim=-1)
        outlying = _far_above(divergence) & _far_above(text)
        divergence = divergence.masked_fill(outlying, 0.0)
    return divergence > divergence.median(dim=-1, keepdim=True).values


def _far_above(values: Tensor) -> Tensor:
    """Which values are more than a standard deviation above the mean of their row."""
    return values > (values.mean(dim=-1) + values.std(dim=-1))[..., None]


def released_layers(depth: int) -> tuple[int, ...]:
    """Return the second layer and the last 14 of 32, scaled to a depth."""
    last = max(round(14 / 32 * depth), 1)
    return tuple(sorted({min(1, depth - 1), *range(depth - last, depth)}))

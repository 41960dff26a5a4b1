"""VISTA: push the residual stream towards the picture, and mix in the logits of late layers.

Li et al., "The Hidden Life of Tokens: Reducing Hallucination of Large Vision-Language Models via
Visual Information Steering", ICML 2025, arXiv 2502.03628; code LzVv123456/VISTA.

Equations
---------
Steering. ``v`` is a layer's output at the last prompt token with the picture, minus the same
without it. The output ``x`` of every layer's feed-forward module, at every position, becomes::

    y = x / |x| + strength (1 + max(0, cos(x, -v))) v / |v|        x' = |x| y / |y|

so that its length is kept, and the push is stronger where it points away from ``v``.

Self-logits augmentation. With ``l`` the final logits and ``h_i`` the outputs of the layers of a
window, decoding uses

    (1 - gamma) l + gamma mean_i head(h_i)

Cost
----
Two further passes over the prompt, one of them without the picture; then one pass a token and, for
every layer of the window, one more product with the head. Time a token by the paper: 1.27 times
plain greedy decoding.

Paper and code
--------------
The code stacks the vectors of several demonstrations and adds their first principal component;
with the one it uses, the component is an arbitrary unit vector, which adds 1 to one number of the
first layer. Here ``v`` is the plain difference. States are read through the head without the final
norm, as in the code; ``normalise`` applies it, as some re-implementations do. The code's window is
25-30 of 32 layers, both ends included; for other depths it is scaled to ``round(25 L / 32)`` ..
``round(30 L / 32)``, without the last layer, which is ours. The code also has a mode that fixes the
factor of ``strength`` at 1; it is left out. Prompts of a batch have their own vectors; the code
runs one at a time.

Published
---------
LLaVA-1.5-7B, CHAIR (512 tokens), CHAIR_S / CHAIR_I (table 1): greedy 46.4/12.1 to 20.4/6.9, beams
49.0/12.5 to 17.4/6.3, nucleus sampling at 0.9 53.2/15.1 to 24.0/8.2. POPE on COCO, greedy, mean of
three splits, accuracy / F1 (table 2): 84.79/85.61 to 86.15/86.29. MME, greedy (table 3): 1752.35 to
1771.87. The scripts set ``strength`` to 0.17 for CHAIR, 0.01 for POPE and 0.1 for MMHal, ``gamma``
to 0.3; the readme says to calibrate ``strength`` for every model.

Unverified
----------
Which layers the window labels of table 4 ("27-31" is best) mean; ``strength`` for other models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.branches import text_only
from lmms_causal.interventions.layers import beyond, named_layers
from lmms_causal.interventions.plan import Increment, Plan, Signals, Steering, WithoutImage
from lmms_causal.interventions.ranges import check_not_negative, check_share
from lmms_causal.interventions.registry import method

__all__ = ["Vista", "late_layers", "steer"]


@method
@dataclass(frozen=True)
class Vista:
    """Parameters of visual information steering.

    Attributes:
        strength: ``lambda`` of the steering; 0 turns it off.
        gamma: weight in [0, 1] of the window's logits; 0 turns them off.
        window: layers whose logits are mixed in, such as ``25-30``, counted from 0, both ends
            included; None means the released window, scaled to the model's depth.
        normalise: whether the final norm is applied to the window's states.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them.
    """

    strength: float = 0.1
    gamma: float = 0.3
    window: str | None = None
    normalise: bool = False
    without_image: WithoutImage = "refuse"

    def __post_init__(self) -> None:
        check_not_negative(self, "strength")
        check_share(self, "gamma")
        if self.window is not None:
            named_layers("vista", "window", self.window)

    def plan(self) -> Plan:
        """Steering and augmentation, each if it has an effect."""
        negative = text_only(self.without_image)
        augmentation = Increment(
            "vista", self.increment, without_image=self.without_image, layers=self.layers
        )
        return Plan(
            steering=Steering("vista", negative, self.push) if self.strength else None,
            increments=(augmentation,) if self.gamma else (),
            requirements=(self.obstacle,) if self.gamma else (),
        )

    def push(self, states: Tensor, vector: Tensor) -> Tensor:
        """A feed-forward module's output ``[B, q, D]`` pushed along ``[B, 1, D]``."""
        return steer(states, vector, self.strength)

    def increment(self, signals: Signals) -> Tensor:
        """``gamma (mean of the window - l)``, ``[B, K, V]``."""
        total = torch.zeros_like(signals.factual)
        window = self.layers(signals.depth)
        for layer in window:
            total = total + signals.early(layer, self.normalise)
        return self.gamma * (total / len(window) - signals.factual)

    def layers(self, depth: int) -> Sequence[int]:
        """The layers whose logits are mixed in."""
        if self.window is None:
            return late_layers(depth)
        return named_layers("vista", "window", self.window)

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the window cannot be had from a model, or None."""
        if self.window is None:
            return None if adapter.depth > 1 else "it has one layer, and none before the last"
        layers = named_layers("vista", "window", self.window)
        return beyond("window", layers, adapter.depth, "decoder layers")


def late_layers(depth: int) -> range:
    """Return the released window, 25 to 30 of 32, scaled; never the last layer, one at least."""
    last = min(round(30 / 32 * depth), depth - 2)
    return range(min(round(25 / 32 * depth), last), last + 1)


def steer(states: Tensor, vector: Tensor, strength: float) -> Tensor:
    """Turn states ``[..., D]`` towards a vector ``[..., D]``; their length stays.

    Left exactly as they are: states that have no direction, or would have none afterwards, and
    all of them where the vector is zero.
    """
    length = states.norm(dim=-1, keepdim=True)
    aim = vector.norm(dim=-1, keepdim=True)
    tiny = torch.finfo(states.dtype).tiny
    against = cosine_similarity(states, -vector, dim=-1)[..., None].clamp(min=0)
    turned = states / length.clamp(min=tiny) + strength * (1 + against) * (
        vector / aim.clamp(min=tiny)
    )
    reached = turned.norm(dim=-1, keepdim=True)
    steerable = (length > 0) & (aim > 0) & (reached > 0)
    return torch.where(steerable, length * turned / reached.clamp(min=tiny), states)

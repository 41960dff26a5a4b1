"""The decays of lightning attention: how fast each head forgets.

A slope ``s`` means that what lies ``t`` tokens back counts ``exp(-s t)``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear.heads import check_choice

__all__ = ["Rule", "lightning_slopes"]

Rule = Literal["alibi", "fla"]


def lightning_slopes(
    heads: int, layer: int | None = None, layers: int | None = None, rule: Rule = "alibi"
) -> Tensor:
    """Return the slopes of one layer's heads.

    Two conventions are in use, and a model needs the one it was trained with:

    * ``alibi``: ``2^(-8 (h + 1) / H)`` where ``H`` is a power of two; else those of the largest
      power of two below, and then every other one of twice that number. With a layer, times
      ``1 - layer / (layers - 1) + 1e-5`` (code of TransNormer, arXiv 2401.04658).
    * ``fla``: ``8 h / H (1 - layer / layers)``, so that the first head never forgets (package
      flash-linear-attention, which also scales scores by ``D ** -0.5``).

    Args:
        heads: ``H``.
        layer: index of the layer, from 0; None for slopes that are the same in all.
        layers: how many there are.
        rule: the convention.

    Returns:
        Slopes ``[H]`` in float32.

    Raises:
        UserError: a layer without the number of layers or beyond it; an unknown rule.
    """
    check_choice("lightning_slopes", "rule", rule, Rule)
    if (layer is None) != (layers is None):
        raise UserError(
            f"lightning_slopes: layer={layer} of layers={layers}; give both, or neither"
        )
    if heads < 1 or (layer is not None and layers is not None and not 0 <= layer < layers):
        raise UserError(
            f"lightning_slopes: heads={heads}, layer={layer}, layers={layers}; heads are 1 or "
            "more, and layers count from 0"
        )
    if rule == "fla":
        deep = 1.0 if layer is None or layers is None else 1 - layer / layers
        return torch.arange(heads, dtype=torch.float32) * (8 / heads * deep)
    deep = 1.0 if layer is None or layers is None else 1 - layer / max(1, layers - 1) + 1e-5
    return torch.tensor(_alibi(heads), dtype=torch.float32) * deep


def _alibi(heads: int) -> list[float]:
    power = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * (h + 1) / power) for h in range(power)]
    if power < heads:
        slopes += _alibi(2 * power)[0::2][: heads - power]
    return slopes

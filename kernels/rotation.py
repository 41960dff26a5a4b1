"""Rotary position embedding as an operator: turn queries further, or undo what a model did.

A rotary embedding turns each pair of dimensions by ``position * frequency``, so that a score
depends on differences of positions only (Su et al., arXiv 2104.09864). Moving keys by ``s`` is
therefore the same as turning the query by ``-s``: keys that are already in a cache stay there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Rotation", "rotate", "undo", "wide_type"]


@dataclass(frozen=True, eq=False)
class Rotation:
    """Which dimensions turn, and how fast.

    Attributes:
        inv_freq: radians for each step of position ``[f]``; the first ``2 f`` dimensions of a head
            turn, further ones stay (partial rotary embedding).
        interleaved: whether a pair is dimensions ``2 j, 2 j + 1`` instead of ``j, j + f``.
        axes: for positions of several axes (M-RoPE: time, height, width), the axis ``[f]`` that
            each frequency goes by; None where positions have one axis.
    """

    inv_freq: Tensor
    interleaved: bool = False
    axes: Tensor | None = None

    @cached_property
    def turns(self) -> Tensor:
        """Turns of a pair for each step of position ``[f]``, float64."""
        return self.inv_freq.double() / (2 * math.pi)


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type to compute in: float64 for float64, else float32."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def rotate(x: Tensor, angle: Tensor | float, rotation: Rotation) -> Tensor:
    """Turn vectors by so many positions.

    The angle is reduced to one turn in float64, because a float32 product of a large position and
    a frequency is wrong by up to 5e-4 rad at position 8192. It is applied in float32 (float64 for
    float64) and the result is rounded once. Where position has several axes, all of them move.

    Args:
        x: vectors ``[..., m, D]``.
        angle: positions to turn by ``[..., m]``, of either sign; broadcasts against ``x``'s
            leading dimensions, which may broadcast against it.
        rotation: frequencies and layout.

    Returns:
        ``[..., m, D]`` of ``x``'s type.
    """
    steps = torch.as_tensor(angle, device=x.device, dtype=torch.float64).unsqueeze(-1)
    turns = (steps * rotation.turns.to(x.device)).frac_()
    theta = turns.to(wide_type(x.dtype)).mul_(2 * math.pi)
    return _turned(x, theta.cos(), theta.sin(), rotation.interleaved)


def undo(x: Tensor, positions: Tensor, rotation: Rotation) -> Tensor:
    """Take a model's own rotary embedding off again.

    Angles are computed as models compute them, a float32 product, so that its rounding is undone
    as well: what comes back does not depend on where the token stood.

    Args:
        x: rotated vectors ``[..., m, D]``.
        positions: where the model had them, ``[m]``, or ``[axes, m]`` with ``rotation.axes``.
        rotation: frequencies and layout.

    Returns:
        ``[..., m, D]`` of ``x``'s type, before any scaling of cosines was taken off.
    """
    wide = wide_type(x.dtype)
    frequencies = rotation.inv_freq.to(x.device, wide)
    places = positions.to(x.device, wide)
    if rotation.axes is not None and places.dim() == 2:
        spread = places[rotation.axes.to(x.device)].T  # [m, f]
    else:
        spread = (places[0] if places.dim() == 2 else places).unsqueeze(-1)
    theta = spread * frequencies
    return _turned(x, theta.cos(), theta.sin().neg_(), rotation.interleaved)


def _turned(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Turn the pairs of ``x [..., m, D]`` by angles with ``cos, sin [..., m, f]``."""
    count = cos.shape[-1]
    source = x.to(cos.dtype)
    result = source.new_empty(*_leading(x, cos), x.shape[-1])
    a, b = _pairs(source, count, interleaved)
    into_a, into_b = _pairs(result, count, interleaved)
    # In place on the result: a rotation is bound by memory, and each temporary is another pass.
    torch.mul(a, cos, out=into_a).addcmul_(b, sin, value=-1)
    torch.mul(b, cos, out=into_b).addcmul_(a, sin)
    if 2 * count < x.shape[-1]:
        result[..., 2 * count :] = source[..., 2 * count :]
    return result.to(x.dtype)


def _leading(x: Tensor, y: Tensor) -> list[int]:
    """Broadcast all dimensions but the last; ``torch.broadcast_shapes`` takes 30 us a call."""
    count = max(x.dim(), y.dim())
    a, b = ((1,) * (count - z.dim()) + tuple(z.shape[:-1]) for z in (x, y))
    return [right if left == 1 else left for left, right in zip(a, b, strict=True)]


def _pairs(x: Tensor, count: int, interleaved: bool) -> tuple[Tensor, Tensor]:
    if interleaved:
        return x[..., 0 : 2 * count : 2], x[..., 1 : 2 * count : 2]
    return x[..., :count], x[..., count : 2 * count]

"""Vision-aware head divergence: what a picture changes in a head's output (arXiv 2412.13949).

Outputs are those of heads before the output projection, at the token that predicts the next one,
once with the picture and once with the same words without it.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["aware_heads", "head_divergence", "token_divergence", "without_outliers"]


def head_divergence(shown: Tensor, text: Tensor) -> Tensor:
    """Return VHD, the Euclidean distance of outputs ``[..., H, d]``, as ``[..., H]``, float32.

    Args:
        shown: outputs with the picture.
        text: outputs without it.
    """
    return (shown.float() - text.float()).norm(dim=-1)


def token_divergence(divergence: Tensor, top: int) -> Tensor:
    """Return T-VHD: the sum over layers of the ``top`` greatest divergences in each.

    The paper's number of heads is not known to us.

    Args:
        divergence: ``[L, ..., H]``.
        top: heads that count in each layer.

    Returns:
        ``[...]``.
    """
    return divergence.topk(min(top, divergence.shape[-1]), dim=-1).values.sum(dim=(0, -1))


def without_outliers(divergence: Tensor, text: Tensor) -> Tensor:
    """Return divergences with those set to 0 that are large because the head is loud anyway.

    A head is left out if both its divergence and the squared norm of its output without the picture
    are above the mean plus one (sample) standard deviation of its layer.

    Args:
        divergence: ``[..., H]``.
        text: outputs without the picture ``[..., H, d]``, or their squared norms ``[..., H]``.
    """
    loudness = text.float().square().sum(dim=-1) if text.ndim > divergence.ndim else text
    return divergence.masked_fill(_far_above(divergence) & _far_above(loudness), 0.0)


def aware_heads(divergence: Tensor) -> Tensor:
    """Return which heads are above their layer's median, bool ``[..., H]``.

    The median of an even number is the lower middle one, as in torch.
    """
    return divergence > divergence.median(dim=-1, keepdim=True).values


def _far_above(values: Tensor) -> Tensor:
    mean, deviation = values.mean(dim=-1, keepdim=True), values.std(dim=-1, keepdim=True)
    return values > mean + torch.nan_to_num(deviation)

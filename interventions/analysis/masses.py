"""Where an answer looks: how attention is shared out among the parts of a prompt."""

from __future__ import annotations

from torch import Tensor

__all__ = ["context_dependence", "per_token", "shares"]


def shares(masses: Tensor) -> Tensor:
    """Return each head's mean mass on every part, ``[L, H, S]``, from ``[L, H, T, S]``."""
    return masses.mean(dim=2)


def per_token(shares: Tensor, lengths: Tensor) -> Tensor:
    """Return mean masses relative to a part's share of the tokens, ``[L, H, S]``.

    1 means that a part gets as much as it would if every token got the same; NaN for empty parts.

    Args:
        shares: ``[L, H, S]``.
        lengths: tokens of each part, ``[S]``.
    """
    expected = lengths / lengths.sum()
    return shares / expected.masked_fill(expected == 0, float("nan")).to(shares)


def context_dependence(masses: Tensor) -> Tensor:
    """Return how much an answer depends on a part of its context in each layer, ``[L]``.

    For every token of the answer the largest mass on the part over heads, and of these the mean
    (arXiv 2411.02688, released code, where the user's words are the part, layer 15 is read, and an
    answer is called context dependent above 0.6).

    Args:
        masses: mass on the part for every token that predicts the answer, ``[L, H, T]``.
    """
    return masses.amax(dim=1).mean(dim=-1)

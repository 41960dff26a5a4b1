"""Random numbers for the entries of attention maps, each a function of where its entry is.

A generator gives numbers in the order in which they are asked for, so what an entry gets would
depend on the batch, the padding, and on whether a cache is used. Here a hash of the seed, the
document, the layer, the head, the query and the key is the number, whatever else is computed with
it, on any device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lmms_causal.interventions.edits.attention import Coordinates

__all__ = ["integers", "permuted", "uniforms"]

_WORD = 2**32 - 1
_Word = TypeVar("_Word", int, Tensor)


def integers(seed: int, where: Coordinates, head: int) -> Tensor:
    """Return whole numbers in 0..2^32-1 for the entries of one head, ``[R, q, n]``, int64.

    ``R`` is 1 where all rows share coordinates and document. The numbers of a query differ.
    """
    starts = []
    for document in where.seeds:
        state = 0
        for part in (seed, seed >> 32, document, document >> 32, where.layer, head):
            state = _mixed(state ^ (part & _WORD))
        starts.append(state)
    state_of_row = torch.tensor(starts, device=where.queries.device)[:, None]
    state_of_query = _mixed(state_of_row ^ (where.queries & _WORD))
    return _mixed(state_of_query[:, :, None] ^ (where.keys & _WORD)[:, None])


def uniforms(seed: int, where: Coordinates, head: int) -> Tensor:
    """Return numbers in [0, 1) for the entries of one head, ``[R, q, n]``, float32."""
    return (integers(seed, where, head) >> 8).float() / 2**24  # all that float32 holds exactly


def permuted(weights: Tensor, allowed: Tensor, numbers: Tensor) -> Tensor:
    """Exchange the allowed entries of each row among themselves, ``[..., n]``.

    Args:
        weights: ``[..., n]``.
        allowed: ``[..., n]``, bool.
        numbers: ``[..., n]`` below 2^32; their order is that of the entries.
    """
    order = numbers.masked_fill(~allowed, _WORD + 1).argsort(dim=-1, stable=True)
    place = (allowed.long().cumsum(dim=-1) - 1).clamp(min=0)
    return weights.gather(-1, order.gather(-1, place)).masked_fill(~allowed, 0.0)


def _mixed(word: _Word) -> _Word:
    """A bijection of 32-bit words after which no bit resembles any before it (lowbias32).

    The second factor is written as a negative number, so that products stay within 64 bits.
    """
    word = word ^ (word >> 16)
    word = (word * 0x7FEB352D) & _WORD
    word = word ^ (word >> 15)
    word = (word * (0x846CA68B - 2**32)) & _WORD
    return word ^ (word >> 16)

"""Random numbers for the entries of attention maps, each a function of where its entry is.

A generator gives numbers in the order in which they are asked for, so what an entry gets would
depend on the batch, the padding, and on whether a cache is used. Here a hash of the seed, the
document, the layer, the head, the query and the key is the number, whatever else is computed with
it, on any device. Heads are done one by one, because hashes and orders take 64 bits an entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lmms_causal.interventions.attention.coordinates import Coordinates

__all__ = ["permuted", "shuffled", "uniform"]

_WORD = 2**32 - 1
_Word = TypeVar("_Word", int, Tensor)


def uniform(where: Coordinates, heads: int, seed: int) -> Tensor:
    """Return numbers in (0, 1) for the entries of all heads, ``[R, H, q, n]``, float32.

    ``R`` is 1 where all rows share coordinates and document.
    """
    # 23 bits and a half: as many as float32 holds exactly, and neither 0 nor 1
    draws = [((_hashed(where, head, seed) >> 9).float() + 0.5) / 2**23 for head in range(heads)]
    return torch.stack(draws, dim=1)


def shuffled(weights: Tensor, allowed: Tensor, where: Coordinates, seed: int) -> Tensor:
    """Exchange the allowed entries of each row among themselves, ``[R, H, q, n]``.

    Args:
        weights: ``[R, H, q, n]``, 0 where not allowed.
        allowed: ``[R, 1 or H, q, n]``, bool.
        where: where the weights are.
        seed: of the draws.
    """
    allowed = allowed.expand_as(weights)
    heads = []
    for head in range(weights.shape[1]):
        numbers = _hashed(where, head, seed).expand_as(weights[:, head])
        heads.append(permuted(weights[:, head], allowed[:, head], numbers))
    return torch.stack(heads, dim=1)


def permuted(weights: Tensor, allowed: Tensor, numbers: Tensor) -> Tensor:
    """Exchange the allowed entries of each row so that numbers give their order, ``[..., n]``.

    Args:
        weights: ``[..., n]``.
        allowed: ``[..., n]``, bool; other entries become 0, and have no influence.
        numbers: ``[..., n]`` below 2^32.
    """
    order = numbers.masked_fill(~allowed, _WORD + 1).argsort(dim=-1, stable=True)
    place = (allowed.long().cumsum(dim=-1) - 1).clamp(min=0)
    return weights.gather(-1, order.gather(-1, place)).masked_fill(~allowed, 0.0)


def _hashed(where: Coordinates, head: int, seed: int) -> Tensor:
    """A whole number in 0..2^32-1 for every entry of one head, ``[R, q, n]``; distinct in a row."""
    starts = []
    for document in where.seeds:
        state = 0
        for part in (seed, seed >> 32, document, document >> 32, where.layer, head):
            state = _mixed(state ^ (part & _WORD))
        starts.append(state)
    state_of_row = torch.tensor(starts, device=where.queries.device)[:, None]
    state_of_query = _mixed(state_of_row ^ (where.queries & _WORD))
    return _mixed(state_of_query[:, :, None] ^ (where.keys & _WORD)[:, None])


def _mixed(word: _Word) -> _Word:
    """A bijection of 32-bit words whose output bits depend on all input bits (lowbias32).

    The second factor is written as a negative number, so that products stay within 64 bits.
    """
    word = word ^ (word >> 16)
    word = (word * 0x7FEB352D) & _WORD
    word = word ^ (word >> 15)
    word = (word * (0x846CA68B - 2**32)) & _WORD
    return word ^ (word >> 16)

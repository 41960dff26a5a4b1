"""What the operators have in common: which shapes fit, heads that share keys, forms, the cache."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lmms_causal.errors import UserError, nearest

__all__ = ["Form", "KeyValues", "check", "check_choice", "rows_of", "split_heads"]

Form = Literal["chunk", "recurrent", "naive"]
"""How an operator is computed: in chunks, token by token, or by its definition."""


class KeyValues(NamedTuple):
    """The state of an operator that needs all keys: those seen so far.

    Attributes:
        k: ``[B, H_k, n, D]``.
        v: ``[B, H_k, n, E]``.
    """

    k: Tensor
    v: Tensor

    @classmethod
    def joined(
        cls, operator: str, q: Tensor, k: Tensor, v: Tensor, state: KeyValues | None
    ) -> KeyValues:
        """Put further keys and values behind those of a state.

        Raises:
            UserError: they do not fit, or there are more queries than keys.
        """
        if state is not None:
            for old, new in zip(state, (k, v), strict=True):
                if old.dtype != new.dtype or _but_length(old) != _but_length(new):
                    raise UserError(
                        f"{operator}: a state of {list(old.shape)}, {old.dtype}, before "
                        f"{list(new.shape)}, {new.dtype}; they may differ in length only"
                    )
            k, v = torch.cat([state.k, k], 2), torch.cat([state.v, v], 2)
        if q.shape[2] > k.shape[2]:
            raise UserError(
                f"{operator}: {q.shape[2]} queries and {k.shape[2]} keys; the last query is at the "
                "last key, so that there are at least as many keys"
            )
        return cls(k, v)


def _but_length(x: Tensor) -> tuple[int, ...]:
    return (*x.shape[:2], *x.shape[3:])


def check(
    operator: str, q: Tensor, k: Tensor, v: Tensor, chunk: int, same_length: bool = False
) -> None:
    """Raise ``UserError`` unless queries, keys, values and the size of chunks fit each other."""
    fits = (
        q.dim() == k.dim() == v.dim() == 4
        and k.shape[:3] == v.shape[:3]
        and k.shape[0] == q.shape[0]
        and k.shape[3] == q.shape[3]
    )
    if not fits:
        raise UserError(
            f"{operator}: queries {list(q.shape)}, keys {list(k.shape)} and values "
            f"{list(v.shape)} do not fit; they are [B, H, N, D], [B, H_k, N, D] and [B, H_k, N, E]"
        )
    if q.shape[1] % k.shape[1]:
        raise UserError(
            f"{operator}: {q.shape[1]} query heads cannot share {k.shape[1]} key heads; the first "
            "must be a multiple of the second"
        )
    if not q.dtype == k.dtype == v.dtype or not q.dtype.is_floating_point:
        raise UserError(
            f"{operator}: queries are {q.dtype}, keys {k.dtype}, values {v.dtype}; use one "
            "floating type"
        )
    if same_length and q.shape[2] != k.shape[2]:
        raise UserError(
            f"{operator}: {q.shape[2]} queries and {k.shape[2]} keys; give as many, and what came "
            "before by state="
        )
    if chunk < 1:
        raise UserError(f"{operator}: chunks of {chunk} tokens; take 1 or more, such as 64")


def check_choice(operator: str, name: str, given: str, choices: object) -> None:
    """Raise ``UserError`` unless ``given`` is one of a ``Literal``'s values."""
    known = get_args(choices)
    if given not in known:
        raise UserError(
            f"{operator}: {name}={given} is none of {', '.join(known)}{nearest(given, known)}"
        )


def split_heads(x: Tensor, planes: int) -> Tensor:
    """See heads ``[B, H, N, D]`` as groups of those that share a plane ``[B, P, H / P, N, D]``."""
    return x.unflatten(1, (planes, x.shape[1] // planes))


def rows_of(x: Tensor, some: slice, dtype: torch.dtype) -> Tensor:
    """Take tokens of ``[B, P, G, N, D]`` as rows of matrices ``[B P, G n, D]``, in a wide type."""
    part = x[:, :, :, some]
    return part.reshape(-1, part.shape[2] * part.shape[3], part.shape[4]).to(dtype)

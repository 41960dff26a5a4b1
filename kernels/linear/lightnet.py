"""LightNet: linear attention whose keys are normalised over the past, channel by channel.

Zhen Qin et al., "You Only Scan Once", arXiv 2405.21022; the activation ``phi = silu`` of queries as
in its layer. Keys are logits ``k``, and every channel of every key head has a normaliser

    z_t = log sum_{s <= t} exp k_s
    S_t = sum_{s <= t} exp(k_s - z_t) v_s^T         o_t = c S_t^T phi(q_t)

(additive decay: ``S_t = exp(z_{t-1} - z_t) S_{t-1} + exp(k_t - z_t) v_t^T``). Where every token may
see every other, the sums run over all of them, once, whatever axes the tokens lie along.

In a chunk, with any reference ``r`` of each channel, ``x_s = exp(k_s - r)``, ``p = exp(z - r)`` for
``z`` from before the chunk, and ``w_t = p + sum_{s <= t} x_s``, so that ``exp(r - z_t) = 1 / w_t``:

    O = c (tril((phi(Q) / w) x^T) V + (phi(Q) p / w) S)
    S <- (p S + x^T V) / w_last                      z <- r + log w_last

One exponential for each key, and no logarithm but at the end. ``r`` is the first token's normaliser
plus 40: nothing overflows while keys rise by less than 100 above what was seen before, and nothing
that counts vanishes. Chunks in which a channel rises by more are halved until none does.
"""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor
from torch.nn.functional import silu

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear import through_fla
from lmms_causal.kernels.linear.heads import Form, check, check_choice
from lmms_causal.kernels.linear.lightnet_forms import (
    LightNetState,
    bidirectional,
    chunked,
    naive,
    recurrent,
    start,
)

__all__ = ["LightNetState", "lightnet", "lightnet_step"]


@overload
def lightnet(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = ...,
    mask: Tensor | None = ...,
    scale: float = ...,
    chunk: int = ...,
    state: LightNetState | None = ...,
    return_state: Literal[False] = ...,
    form: Form = ...,
    backend: through_fla.Where = ...,
) -> Tensor: ...


@overload
def lightnet(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = ...,
    mask: Tensor | None = ...,
    scale: float = ...,
    chunk: int = ...,
    state: LightNetState | None = ...,
    return_state: Literal[True],
    form: Form = ...,
    backend: through_fla.Where = ...,
) -> tuple[Tensor, LightNetState]: ...


def lightnet(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = True,
    mask: Tensor | None = None,
    scale: float = 1.0,
    chunk: int = 64,
    state: LightNetState | None = None,
    return_state: bool = False,
    form: Form = "chunk",
    backend: through_fla.Where = "auto",
) -> Tensor | tuple[Tensor, LightNetState]:
    """Attend by sums normalised channel by channel; computed in float32 or wider.

    Args:
        q: queries ``[B, H, N, D]``; ``silu`` is applied here. With ``causal=False`` tokens may lie
            along several axes, ``[B, H, rows, columns, D]`` and so on, for keys and values alike.
        k: logits of the keys ``[B, H_k, N, D]``; query head ``h`` uses ``h // (H / H_k)``.
        v: values ``[B, H_k, N, E]``.
        causal: whether a token sees the past alone, or all tokens given (and the state's).
        mask: bool ``[B, N]`` (or ``[B, rows, columns]``), False for padding, which is not seen and
            whose outputs are 0.
        scale: ``c``. The package flash-linear-attention uses ``D ** -0.5``.
        chunk: tokens in a chunk; 64 is fastest on a processor for widths up to 128.
        state: from an earlier call.
        return_state: whether to return the state behind the last token.
        form: how to compute the causal form.
        backend: ``auto`` takes ``fla`` for tensors on a GPU where it is installed.

    Returns:
        Outputs, as ``q`` but ``E`` wide, of its type; and if asked the state. A token that sees
        nothing but padding has output 0.

    Raises:
        UserError: shapes that do not fit; a backend that cannot serve this.
    """
    check_choice("lightnet", "form", form, Form)
    axes = q.shape[2:-1]
    if q.dim() > 4:
        if causal:
            raise UserError(
                f"lightnet: queries {list(q.shape)} lie along several axes, in which there is no "
                "past; pass causal=False, or give tokens one axis"
            )
        q, k, v = (x.flatten(2, -2) for x in (q, k, v))
        mask = None if mask is None else mask.flatten(1)
    check("lightnet", q, k, v, chunk, same_length=True)
    _check_state(q, k, v, mask, state)
    if mask is not None:
        hidden = ~mask[:, None, :, None]
        k, v = k.masked_fill(hidden, -torch.inf), v.masked_fill(hidden, 0)
    by_fla = through_fla.taken("lightnet", backend, form, q, k, v, causal)
    if not causal:
        out, kept = bidirectional(q, k, v, scale=scale, state=state)
    elif by_fla:
        out, kept = _by_fla(q, k, v, scale, state, return_state)
    elif form == "naive":
        out, kept = naive(q, k, v, scale=scale, state=state)
    elif form == "recurrent":
        out, kept = recurrent(q, k, v, scale=scale, state=state)
    else:
        out, kept = chunked(q, k, v, scale=scale, chunk=chunk, state=state)
    if mask is not None:
        out = out.masked_fill(~mask[:, None, :, None], 0)
    out = out.unflatten(2, axes) if len(axes) > 1 else out
    return (out, kept) if return_state else out


def lightnet_step(
    q: Tensor, k: Tensor, v: Tensor, state: LightNetState | None, *, scale: float = 1.0
) -> tuple[Tensor, LightNetState]:
    """Attend from one further token, ``[B, H, 1, D]``, and return output and state."""
    return lightnet(q, k, v, scale=scale, state=state, return_state=True, form="recurrent")


def _by_fla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    state: LightNetState | None,
    return_state: bool,
) -> tuple[Tensor, LightNetState]:
    _, z0 = start(q, k, v, state)
    z = torch.cat([z0[:, :, None], k.float()], 2).logcumsumexp(2)[:, :, 1:]
    memory = None if state is None else state.memory
    out, kept = through_fla.lightnet(silu(q), k, v, z, z0[:, :, None], scale, memory, return_state)
    return out, LightNetState(kept, z[:, :, -1])


def _check_state(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, state: LightNetState | None
) -> None:
    batch, shared, length, width = k.shape
    if mask is not None and (mask.dtype is not torch.bool or mask.shape != (batch, length)):
        raise UserError(
            f"lightnet: mask {list(mask.shape)} of {mask.dtype}; it is bool "
            f"{[batch, length]}, False for padding"
        )
    shapes = [[batch, shared, width, v.shape[3]], [batch, shared, width]]
    if state is not None and [list(x.shape) for x in state] != shapes:
        raise UserError(
            f"lightnet: the state is {[list(x.shape) for x in state]} and must be {shapes}; pass "
            "what return_state=True gave for the same heads"
        )

"""Lightning attention: linear attention in which the past fades at a constant rate.

Zhen Qin et al., "Lightning Attention-2", arXiv 2401.04658. With ``l = exp(-slope)`` of a head, and
neither a softmax nor a normaliser,

    o_i = c sum_{j <= i} l^(i - j) (q_i . k_j) v_j
    S_i = l S_{i-1} + k_i v_i^T          o_i = c S_i^T q_i

In a chunk, with ``a`` counting its tokens from 0 and ``S`` from before it,

    O = c ((Q K^T) * M) V + c diag(l^(a+1)) Q S          M[a, b] = l^(a-b) for b <= a
    S <- l^C S + (diag(l^(C-1-a)) K)^T V

which is exact, and costs ``2 C (D + E) + 4 D E`` operations a token however long the text. A model
must be trained with it: it does not approximate softmax attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear import through_fla
from lmms_causal.kernels.linear.heads import Form, check, check_choice, rows_of, split_heads
from lmms_causal.kernels.rotation import wide_type

__all__ = ["chunked", "lightning_attention", "lightning_step", "naive", "recurrent"]

Result = tuple[Tensor, Tensor]


@overload
def lightning_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor | None = ...,
    *,
    scale: float = ...,
    chunk: int = ...,
    state: Tensor | None = ...,
    return_state: Literal[False] = ...,
    form: Form = ...,
    backend: through_fla.Where = ...,
) -> Tensor: ...


@overload
def lightning_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor | None = ...,
    *,
    scale: float = ...,
    chunk: int = ...,
    state: Tensor | None = ...,
    return_state: Literal[True],
    form: Form = ...,
    backend: through_fla.Where = ...,
) -> Result: ...


def lightning_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor | None = None,
    *,
    scale: float = 1.0,
    chunk: int = 64,
    state: Tensor | None = None,
    return_state: bool = False,
    form: Form = "chunk",
    backend: through_fla.Where = "auto",
) -> Tensor | Result:
    """Attend by a fading sum over the past; everything is computed in float32 or wider.

    Padding on the left has no effect if its keys are 0.

    Args:
        q: queries ``[B, H, N, D]``, after whatever activation the model has.
        k: keys ``[B, H_k, N, D]``; query head ``h`` uses key head ``h // (H / H_k)``.
        v: values ``[B, H_k, N, E]``.
        slopes: ``[H]``, or ``[H_k]`` where heads that share keys fade alike, which needs only that
            many states; None: nothing fades. See :func:`lightning_slopes`.
        scale: ``c``.
        chunk: tokens in a chunk. 64 is fastest on a processor for widths up to 128.
        state: from an earlier call, ``[B, P, D, E]``, ``P`` as many as slopes (``H_k`` without).
        return_state: whether to return the state behind the last token.
        form: how to compute it.
        backend: ``auto`` takes ``fla`` for tensors on a GPU where it is installed.

    Returns:
        ``[B, H, N, E]`` of ``q``'s type, and if asked the state, in float32 (float64 for float64).

    Raises:
        UserError: shapes that do not fit; slopes below 0; a backend that cannot serve this.
    """
    check("lightning_attention", q, k, v, chunk, same_length=True)
    check_choice("lightning_attention", "form", form, Form)
    slopes = _checked(slopes, q, k)
    shape = [q.shape[0], len(slopes), q.shape[3], v.shape[3]]
    if state is not None and list(state.shape) != shape:
        raise UserError(
            f"lightning_attention: the state is {list(state.shape)} and must be {shape}; pass what "
            "return_state=True gave for the same heads and slopes"
        )
    if through_fla.taken("lightning_attention", backend, form, q, k, v):
        result = through_fla.lightning(q, k, v, slopes, scale, state, return_state)
    elif form == "naive":
        result = naive(q, k, v, slopes, scale=scale, state=state)
    elif form == "recurrent":
        result = recurrent(q, k, v, slopes, scale=scale, state=state)
    else:
        result = chunked(q, k, v, slopes, scale=scale, chunk=chunk, state=state)
    return result if return_state else result[0]


def lightning_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None,
    slopes: Tensor | None = None,
    *,
    scale: float = 1.0,
) -> Result:
    """Attend from one further token, ``[B, H, 1, D]``, and return output and state."""
    return lightning_attention(
        q, k, v, slopes, scale=scale, state=state, return_state=True, form="recurrent"
    )


def naive(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, *, scale: float, state: Tensor | None
) -> Result:
    """The definition, with a table of all pairs."""
    wide, (_, heads, length, _) = wide_type(q.dtype), q.shape
    planes = len(slopes)
    k, v = (x.to(wide).repeat_interleave(planes // x.shape[1], 1) for x in (k, v))
    at = torch.arange(length, device=q.device)
    rate = -slopes.to(wide)[:, None]
    kept = torch.einsum("bhnd,hn,bhne->bhde", k, torch.exp(rate * (length - 1 - at)), v)
    fade = torch.exp(rate[..., None] * (at[:, None] - at).clamp_(min=0)).tril()

    def shared(x: Tensor, axis: int) -> Tensor:
        return x.repeat_interleave(heads // planes, axis)

    out = (q.to(wide) @ shared(k, 1).mT * shared(fade, 0)) @ shared(v, 1)
    if state is not None:
        kept = kept + torch.exp(rate[..., None] * length) * state.to(wide)
        before = q.to(wide) @ shared(state.to(wide), 1)
        out = out + shared(torch.exp(rate * (at + 1)), 0)[..., None] * before
    return (out * scale).to(q.dtype), kept


def recurrent(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, *, scale: float, state: Tensor | None
) -> Result:
    """Token by token."""
    planes, batch = len(slopes), q.shape[0]
    q_5, k_5, v_5, memory = _prepared(q, k, v, planes, state)
    fade = torch.exp(-slopes.to(memory.dtype)).repeat(batch)[:, None, None]
    parts = []
    for t in range(q.shape[2]):
        q_t, k_t, v_t = (rows_of(x, slice(t, t + 1), memory.dtype) for x in (q_5, k_5, v_5))
        memory = torch.baddbmm(memory * fade, k_t.mT, v_t)
        parts.append(_heads(torch.bmm(q_t, memory) * scale, q, 1))
    return _joined(parts, q, v), memory.unflatten(0, (batch, planes))


def chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor,
    *,
    scale: float,
    chunk: int,
    state: Tensor | None,
) -> Result:
    """Chunk by chunk: pairs within one by a table, what was before it from the state."""
    planes, (batch, _, length, width) = len(slopes), q.shape
    q_5, k_5, v_5, memory = _prepared(q, k, v, planes, state)
    fades: dict[int, _Fades] = {}
    parts = []
    for first in range(0, length, chunk):
        count = min(chunk, length - first)
        some = slice(first, first + count)
        if count not in fades:
            fades[count] = _Fades.of(slopes, count, scale, memory)
        fade = fades[count]
        q_c, k_c, v_c = (rows_of(x, some, memory.dtype) for x in (q_5, k_5, v_5))
        by_plane = (batch, planes, -1, count)
        within = torch.bmm(q_c, k_c.mT)
        within.view(*by_plane, count).mul_(fade.pairs)
        since = (q_c.view(*by_plane, width) * fade.since).view_as(q_c)
        out = torch.bmm(within, v_c).baddbmm_(since, memory)
        parts.append(_heads(out, q, count))
        until = (k_c.view(batch, planes, count, width) * fade.until).view_as(k_c)
        memory = torch.baddbmm(memory * fade.whole, until.mT, v_c)
    return _joined(parts, q, v), memory.unflatten(0, (batch, planes))


@dataclass(frozen=True)
class _Fades:
    """What is left after so many tokens, for a chunk of ``C``; ``c`` is in the first two.

    Attributes:
        pairs: from key to query ``[P, 1, C, C]``.
        since: from before the chunk to each query ``[P, 1, C, 1]``.
        until: from each key to the chunk's end ``[P, C, 1]``.
        whole: over the chunk ``[B P, 1, 1]``.
    """

    pairs: Tensor
    since: Tensor
    until: Tensor
    whole: Tensor

    @classmethod
    def of(cls, slopes: Tensor, count: int, scale: float, memory: Tensor) -> _Fades:
        rate = -slopes.to(memory.dtype)[:, None]
        at = torch.arange(count, device=memory.device)
        apart = (at[:, None] - at).clamp_(min=0)
        return cls(
            (torch.exp(rate[..., None] * apart) * scale).tril_()[:, None],
            (torch.exp(rate * (at + 1)) * scale)[:, None, :, None],
            torch.exp(rate * (count - 1 - at))[..., None],
            torch.exp(rate * count).repeat(len(memory) // len(slopes), 1)[..., None],
        )


def _prepared(
    q: Tensor, k: Tensor, v: Tensor, planes: int, state: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs as ``[B, P, G, N, D]``, and the state as matrices ``[B P, D, E]``."""
    wide = wide_type(q.dtype)
    if planes > k.shape[1]:  # heads that share keys fade differently
        repeats = planes // k.shape[1]
        k, v = (x[:, :, None].expand(-1, -1, repeats, -1, -1).flatten(1, 2) for x in (k, v))
    if state is None:
        memory = q.new_zeros(q.shape[0] * planes, q.shape[3], v.shape[3], dtype=wide)
    else:
        memory = state.to(wide).flatten(0, 1)
    return split_heads(q, planes), split_heads(k, planes), split_heads(v, planes), memory


def _heads(out: Tensor, q: Tensor, count: int) -> Tensor:
    """Rows ``[B P, G n, E]`` as heads ``[B, H, n, E]`` of the type of ``q``."""
    return out.view(q.shape[0], q.shape[1], count, out.shape[-1]).to(q.dtype)


def _joined(parts: list[Tensor], q: Tensor, v: Tensor) -> Tensor:
    return torch.cat(parts, 2) if parts else q.new_empty(*q.shape[:3], v.shape[3])


def _checked(slopes: Tensor | None, q: Tensor, k: Tensor) -> Tensor:
    if slopes is None:
        return q.new_zeros(k.shape[1], dtype=wide_type(q.dtype))
    if slopes.dim() != 1 or len(slopes) not in (q.shape[1], k.shape[1]):
        raise UserError(
            f"lightning_attention: slopes {list(slopes.shape)} for {q.shape[1]} query heads and "
            f"{k.shape[1]} key heads; give one for each of either"
        )
    if not bool((slopes >= 0).all()):
        raise UserError(
            "lightning_attention: a slope is below 0 or not a number, and the past would grow; "
            "lightning_slopes() gives those that are in use"
        )
    return slopes.to(q.device)

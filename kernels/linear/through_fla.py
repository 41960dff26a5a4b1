"""The operators by the Triton kernels of flash-linear-attention, where it is installed.

https://github.com/fla-org/flash-linear-attention (MIT; written against the sources of 0.6.0). Its
functions take ``[B, N, H, D]``. Not measured by us on a GPU. Which function serves what:

=================== ======================================================================
lightning attention ``fla.ops.simple_gla``: ``chunk_simple_gla``, and
                    ``fused_recurrent_simple_gla`` up to 64 tokens, with ``g_gamma = -slope``
LightNet            ``fla.ops.gla``: ``chunk_gla`` and ``fused_recurrent_gla``, with keys
                    ``exp(k - z)`` and log-gates ``z_{t-1} - z_t``
Parallax            ``fla.ops.parallax``: ``parallel_parallax``
=================== ======================================================================
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear.heads import Form, check_choice

__all__ = ["Where", "lightnet", "lightning", "missing", "parallax", "taken", "verify"]

Where = Literal["auto", "torch", "fla"]
"""Which implementation: torch runs everywhere, ``auto`` takes fla on GPUs if it can serve."""

_NOT_ON = ("cpu", "meta", "mps")
_HALF = (torch.bfloat16, torch.float16)
_SHORT = 64  # up to so many tokens fla's own layers take the recurrent kernel


def missing() -> str | None:
    """Why the package cannot be used at all, or None."""
    if importlib.util.find_spec("fla") is None:
        return "flash-linear-attention is not installed (pip install flash-linear-attention)"
    return None


def verify(
    operator: str, form: Form, q: Tensor, k: Tensor, v: Tensor, causal: bool = True
) -> str | None:
    """Why the package cannot serve this call, or None. Computes nothing."""
    if not causal:
        return "it has the causal form only"
    if form != "chunk":
        return f"form={form} is computed by torch only"
    if q.device.type in _NOT_ON:
        return f"its kernels do not run on {q.device.type}"
    if q.dtype not in (*_HALF, torch.float32):
        return f"its kernels do not take {q.dtype}"
    if not q.shape[2]:
        return "there is no token"
    if operator == "parallax":
        if q.dtype not in _HALF:
            return f"its kernel for Parallax does not take {q.dtype}"
        if q.shape[2] != k.shape[2]:
            return "its kernel for Parallax needs as many queries as keys"
        if q.shape[3] != v.shape[3]:
            return "its kernel for Parallax needs values as wide as keys"
    return None


def taken(
    operator: str,
    backend: Where,
    form: Form,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    causal: bool = True,
) -> bool:
    """Whether a call goes to the package.

    Raises:
        UserError: it was asked for and cannot serve; an unknown backend.
    """
    check_choice(operator, "backend", backend, Where)
    if backend == "torch":
        return False
    reason = verify(operator, form, q, k, v, causal) or missing()
    if reason is not None and backend == "fla":
        raise UserError(f"{operator}: backend=fla: {reason}; leave the choice to backend=auto")
    # float32 runs in the GPU's reduced TF32 there, so it is taken only where it is asked for
    return reason is None and (backend == "fla" or q.dtype in _HALF)


def lightning(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor,
    scale: float,
    state: Tensor | None,
    return_state: bool,
) -> tuple[Tensor, Tensor]:
    """Lightning attention; arguments as in ``lightning_attention``.

    Returns:
        Outputs ``[B, H, N, E]``, and the state ``[B, P, D, E]`` in float32 if asked (else empty).
    """
    heads, planes = q.shape[1], len(slopes)
    name = "chunk_simple_gla" if q.shape[2] > _SHORT else "fused_recurrent_simple_gla"
    out, kept = _function("simple_gla", name)(
        q=_time_first(q, heads),
        k=_time_first(k, heads),
        v=_time_first(v, heads),
        g_gamma=-slopes.float().repeat_interleave(heads // planes),
        scale=scale,
        initial_state=_repeated(state, heads),
        output_final_state=return_state,
    )
    return out.transpose(1, 2), _every(kept, heads // planes, q)


def lightnet(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    z: Tensor,
    before: Tensor,
    scale: float,
    memory: Tensor | None,
    return_state: bool,
) -> tuple[Tensor, Tensor]:
    """Causal LightNet, given the normalisers.

    Args:
        q: activated queries ``[B, H, N, D]``.
        k: key logits ``[B, H_k, N, D]``.
        v: values ``[B, H_k, N, E]``.
        z: normalisers ``[B, H_k, N, D]`` in float32.
        before: the normaliser before the first token ``[B, H_k, 1, D]``, ``-inf`` if there is none.
        scale: factor of the outputs.
        memory: the state's ``[B, H_k, D, E]``, or None.
        return_state: whether its successor is wanted.

    Returns:
        Outputs ``[B, H, N, E]``, and the memory ``[B, H_k, D, E]`` if asked (else empty).
    """
    heads, groups = q.shape[1], q.shape[1] // k.shape[1]
    closed = z == -torch.inf  # nothing but padding so far
    share = (k.float() - z.masked_fill(closed, 0)).exp().to(q.dtype)
    # an infinite gate times an empty memory is not a number; from empty, any gate will do
    gate = (torch.cat([before, z[:, :, :-1]], 2) - z).masked_fill_(closed, 0)
    gate = gate.masked_fill_(gate == -torch.inf, 0)
    long = q.shape[2] > _SHORT
    out, kept = _function("gla", "chunk_gla" if long else "fused_recurrent_gla")(
        q=_time_first(q, heads),
        k=_time_first(share, heads),
        v=_time_first(v, heads),
        **{"g" if long else "gk": _time_first(gate, heads)},
        scale=scale,
        initial_state=_repeated(memory, heads),
        output_final_state=return_state,
    )
    return out.transpose(1, 2), _every(kept, groups, q)


def parallax(
    q: Tensor, r: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None
) -> Tensor:
    """Causal Parallax; arguments as in ``parallax``."""
    q_t, r_t, k_t, v_t = (x.transpose(1, 2).contiguous() for x in (q, r, k, v))
    kernel = _function("parallax", "parallel_parallax")
    out: Tensor = kernel(q=q_t, r=r_t, k=k_t, v=v_t, scale=scale, window_size=window)
    return out.transpose(1, 2)


def _function(module: str, name: str) -> Callable[..., Any]:
    try:
        found = getattr(importlib.import_module(f"fla.ops.{module}"), name, None)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("fla"):
            raise
        found = None
    if found is None:
        raise UserError(
            f"backend=fla: this flash-linear-attention has no {name}; install 0.6.0, or use "
            "backend=torch"
        )
    kernel: Callable[..., Any] = found
    return kernel


def _time_first(x: Tensor, heads: int) -> Tensor:
    """``[B, H_k, N, D]`` as ``[B, N, H, D]``, keys repeated for the heads that share them."""
    return x.repeat_interleave(heads // x.shape[1], 1).transpose(1, 2).contiguous()


def _repeated(state: Tensor | None, heads: int) -> Tensor | None:
    if state is None:
        return None
    return state.float().repeat_interleave(heads // state.shape[1], 1).contiguous()


def _every(state: Tensor | None, step: int, like: Tensor) -> Tensor:
    """One state for heads that have the same."""
    return like.new_empty(0) if state is None else state[:, ::step].contiguous()

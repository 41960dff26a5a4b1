"""Local linear attention: at every query a weighted linear fit of values on keys, read off at it.

"Local Linear Attention", arXiv 2510.01450. With ``z_ij = k_j - q_i``, ``p = softmax(c q . k)`` over
the past, and a ridge ``l``,

    mu_i = sum_j p_ij z_ij     Sigma_i = sum_j p_ij z_ij z_ij^T + l I     rho_i = Sigma_i^-1 mu_i
    o_i = sum_j p_ij (1 - z_ij . rho_i) / (1 - mu_i . rho_i) v_j

Whether the authors normalise the weights is not known to us; scaling a row's weights rescales its
ridge. Ours are normalised. A large ridge gives softmax attention; the first token's output is its
value.

We compute an equal form. About the weighted mean ``kbar_i = q_i + mu_i`` the second moment is
``Sigma_i = C_i + mu_i mu_i^T`` with ``C_i = cov_p(k) + l I``, so by Sherman and Morrison's formula

    y_i = C_i^-1 (kbar_i - q_i)          o_i = sum_j p_ij (1 - y_i . (k_j - kbar_i)) v_j

which is Parallax with ``r = y``: no quotient that may vanish, coefficients that sum to 1, and a
system without the outlying eigenvalue ``|mu|^2``, solved by conjugate gradients whose products

    C x = (P * (X K^T)) K - (kbar . x) kbar + l x

need neither a ``D x D`` matrix for each query nor all pairs at once. ``T`` iterations cost about
``T + 2`` times softmax attention: this operator saves nothing, it fits better.
"""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear.heads import Form, KeyValues, check, check_choice
from lmms_causal.kernels.linear.row_blocks import RowBlock, assembled, row_blocks, tilted
from lmms_causal.kernels.rotation import wide_type

__all__ = ["chunked", "local_linear_attention", "local_linear_step", "naive", "recurrent"]


@overload
def local_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    ridge: float,
    iterations: int = ...,
    scale: float | None = ...,
    causal: bool = ...,
    block: int = ...,
    state: KeyValues | None = ...,
    return_state: Literal[False] = ...,
    form: Form = ...,
) -> Tensor: ...


@overload
def local_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    ridge: float,
    iterations: int = ...,
    scale: float | None = ...,
    causal: bool = ...,
    block: int = ...,
    state: KeyValues | None = ...,
    return_state: Literal[True],
    form: Form = ...,
) -> tuple[Tensor, KeyValues]: ...


def local_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    ridge: float,
    iterations: int = 16,
    scale: float | None = None,
    causal: bool = True,
    block: int = 64,
    state: KeyValues | None = None,
    return_state: bool = False,
    form: Form = "chunk",
) -> Tensor | tuple[Tensor, KeyValues]:
    """Attend by a local linear fit; computed in float32 or wider.

    Args:
        q: queries ``[B, H, m, D]``; the last is at the last key.
        k: keys ``[B, H_k, n, D]``, ``n >= m``; query head ``h`` uses ``h // (H / H_k)``.
        v: values ``[B, H_k, n, E]``.
        ridge: ``l > 0``, in the square of the keys' unit.
        iterations: of conjugate gradients. ``D`` are exact but for rounding; fewer do where the
            ridge is not small against the keys' variance.
        scale: ``c``; ``D ** -0.5`` by default.
        causal: whether keys behind a query are hidden.
        block: queries worked on at a time at most; 64 is fastest on a processor, or close to it.
        state: keys and values before these, from an earlier call.
        return_state: whether to return them with those of this call.
        form: ``naive`` solves each query's system directly.

    Returns:
        ``[B, H, m, E]`` of ``q``'s type, and if asked the state.

    Raises:
        UserError: shapes that do not fit; a ridge that is not positive; no iterations.
    """
    check("local_linear_attention", q, k, v, block)
    check_choice("local_linear_attention", "form", form, Form)
    if not ridge > 0 or iterations < 1:
        raise UserError(
            f"local_linear_attention: ridge={ridge:g}, iterations={iterations}; take a ridge above "
            "0 and at least 1 iteration"
        )
    kept = KeyValues.joined("local_linear_attention", q, k, v, state)
    k, v = kept
    scale = q.shape[3] ** -0.5 if scale is None else scale
    if form == "naive":
        out = naive(q, k, v, ridge=ridge, scale=scale, causal=causal)
    elif form == "recurrent":
        out = recurrent(q, k, v, ridge=ridge, iterations=iterations, scale=scale, causal=causal)
    else:
        out = chunked(
            q, k, v, ridge=ridge, iterations=iterations, scale=scale, causal=causal, block=block
        )
    return (out, kept) if return_state else out


def local_linear_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: KeyValues | None,
    *,
    ridge: float,
    iterations: int = 16,
    scale: float | None = None,
) -> tuple[Tensor, KeyValues]:
    """Attend from one further token, ``[B, H, 1, D]``, and return output and state."""
    return local_linear_attention(
        q, k, v, ridge=ridge, iterations=iterations, scale=scale, state=state, return_state=True
    )


def naive(q: Tensor, k: Tensor, v: Tensor, *, ridge: float, scale: float, causal: bool) -> Tensor:
    """The definition: differences of all pairs ``[B, H, m, n, D]``, and a direct solution."""
    wide, (m, n, width) = wide_type(q.dtype), (q.shape[2], k.shape[2], q.shape[3])
    q_w = q.to(wide)
    k, v = (x.to(wide).repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    scores = scale * q_w @ k.mT
    if causal:
        at = torch.arange(n, device=q.device)
        scores = scores.masked_fill(at > at[n - m :, None], -torch.inf)
    p = scores.softmax(-1)
    z = k[:, :, None] - q_w[:, :, :, None]
    mu = torch.einsum("bhij,bhijd->bhid", p, z)
    sigma = torch.einsum("bhij,bhijd,bhije->bhide", p, z, z)
    sigma = sigma + ridge * torch.eye(width, dtype=wide, device=q.device)
    rho = torch.linalg.solve(sigma, mu)
    along = torch.einsum("bhijd,bhid->bhij", z, rho)
    weights = p * (1 - along) / (1 - (mu * rho).sum(-1, keepdim=True))
    return (weights @ v).to(q.dtype)


def recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    ridge: float,
    iterations: int,
    scale: float,
    causal: bool,
) -> Tensor:
    """Token by token, each against the keys up to it."""
    m, n = q.shape[2], k.shape[2]
    parts = []
    for t in range(m):
        stop = n - m + t + 1 if causal else n
        row = (q[:, :, t : t + 1], k[:, :, :stop], v[:, :, :stop])
        parts.append(
            chunked(*row, ridge=ridge, iterations=iterations, scale=scale, causal=False, block=1)
        )
    return torch.cat(parts, 2) if parts else q.new_empty(*q.shape[:3], v.shape[3])


def chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    ridge: float,
    iterations: int,
    scale: float,
    causal: bool,
    block: int,
) -> Tensor:
    """The equal form, block by block of the queries."""
    # Seen from the first key, which all queries see: models have keys with a large common part,
    # in whose square their variance would drown.
    wide = wide_type(q.dtype)
    origin = k[:, :, :1].to(wide)
    k = k.to(wide) - origin
    seen = q.to(wide) - origin.repeat_interleave(q.shape[1] // k.shape[1], 1)
    blocks = row_blocks((q, seen), k, v, scale=scale, causal=causal, window=None, block=block)
    parts = []
    for each in blocks:
        centre = torch.bmm(each.weights, each.k)
        tilt = _solved(each, centre, centre - each.rows[1], ridge, iterations)
        parts.append(tilted(each, tilt))
    return assembled(parts, q, v)


def _solved(
    block: RowBlock, centre: Tensor, target: Tensor, ridge: float, iterations: int
) -> Tensor:
    """``(cov_p(k) + ridge I)^-1 target`` for each row, ``[p, R, D]``, by conjugate gradients.

    Without a preconditioner: after ``t`` tokens the covariance has rank ``t - 1``, so that early
    rows are exact after ``t`` iterations; scaling by the diagonal loses that, and was worse.
    """
    x, rest, step = torch.zeros_like(target), target, target
    square = _dot(rest, rest)
    for _ in range(iterations):
        product = torch.bmm(torch.bmm(step, block.k.mT).mul_(block.weights), block.k)
        product = product - _dot(step, centre) * centre + ridge * step
        # at least what the ridge alone gives, whatever rounding made of it
        curvature = torch.maximum(_dot(step, product), ridge * _dot(step, step))
        length = square / _above_zero(curvature)
        x, rest = x + length * step, rest - length * product
        previous, square = square, _dot(rest, rest)
        step = rest + square / _above_zero(previous) * step
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def _above_zero(x: Tensor) -> Tensor:
    """Divisors; 1 in rows that are solved already, where 0 would be divided by 0."""
    return x.masked_fill(x <= torch.finfo(x.dtype).tiny, 1)

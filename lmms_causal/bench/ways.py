"""How a case may be computed, and that the result is right before it is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lmms_causal.bench.cases import Case
from lmms_causal.errors import UserError
from lmms_causal.kernels.attention import attention
from lmms_causal.kernels.backends.choice import choose
from lmms_causal.kernels.backends.reference import BACKEND as REFERENCE
from lmms_causal.kernels.backends.registry import backend, backends
from lmms_causal.kernels.patterns.tiles import allowed_block

__all__ = ["MASKED", "TOLERANCES", "Way", "check_known", "gap", "way"]

MASKED = "sdpa-mask"
"""Not a backend: torch's fused kernel with a dense mask, which is what is usually done."""

_MASK_BYTES = 1 << 30
_ROWS = 16  # in each stretch that is checked
_STRETCHES = 8

TOLERANCES = {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}
"""Greatest difference from float64 with normal values, of which those of 16 bits are mostly the
rounding of the output: a value between 2 and 4 has a spacing of 2^-7 in bfloat16."""


@dataclass(frozen=True, eq=False)
class Way:
    """One way.

    Attributes:
        run: computes the case; what is prepared once (a mask) is not in it.
        held: bytes of what is prepared.
        chosen: the backend that ``auto`` takes, or empty.
    """

    run: Callable[[], Tensor]
    held: int = 0
    chosen: str = ""


def check_known(name: str) -> None:
    """Raise ``UserError`` if neither a backend nor another way has this name."""
    if name not in (MASKED, "auto"):
        try:
            backend(name)
        except UserError as error:
            raise UserError(f"{error}; for the bench also {MASKED}") from None


def way(name: str, case: Case, q: Tensor, k: Tensor, v: Tensor) -> Way | str:
    """Return a way to compute a case, or the reason why it cannot.

    Args:
        name: a backend, ``auto``, or ``sdpa-mask``.
        case: what is computed.
        q: queries ``[B, H, m, d]``.
        k: keys ``[B, H_k, n, d]``.
        v: values likewise.
    """
    if name == MASKED:
        return _masked(case, q, k, v)
    problem, chosen = case.problem(q, k, v), ""
    if name == "auto":
        chosen = choose(problem).backend.name
    elif reason := backends()[name].missing() or backends()[name].verify(problem):
        return reason

    def run() -> Tensor:
        return attention(q, k, v, pattern=case.pattern, regions=case.regions, backend=name)

    return Way(run, chosen=chosen)


def _masked(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Way | str:
    planes = case.pattern.planes(case.context)
    expected = case.queries * case.keys * (1 if planes == 1 else case.heads) * q.element_size()
    if expected > _MASK_BYTES:
        return f"its mask would take {expected / 1e9:.1f} GB"
    allowed = allowed_block(case.pattern, case.context)
    if planes > 1:
        allowed = allowed.repeat_interleave(case.heads // planes, 0)
    # Float and 4-D: a Boolean mask is converted at each call, and one of 3 dimensions makes torch
    # leave its fused kernel.
    mask = torch.zeros(allowed.shape, dtype=q.dtype).masked_fill_(~allowed, -torch.inf)[None]
    grouped = case.heads != case.kv_heads

    def run() -> Tensor:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)

    return Way(run, mask.nbytes)


def gap(case: Case, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> float:
    """Return the greatest difference of an output from the specification in float64.

    Short outputs are compared whole, others in stretches of queries from the first to the last,
    all heads and all keys. Infinite if anything in the output is not finite, or if its shape or
    type is not that of the queries.

    Args:
        case: what was computed.
        out: ``[B, H, m, d]``.
        q: queries as given.
        k: keys.
        v: values.
    """
    if out.shape != q.shape or out.dtype != q.dtype or not bool(out.isfinite().all()):
        return float("inf")
    m = case.queries
    if m <= _ROWS * _STRETCHES:
        starts = [0]
        count = m
    else:
        count = _ROWS
        starts = [round(at * (m - count) / (_STRETCHES - 1)) for at in range(_STRETCHES)]
    wide = case.problem(q, k.double(), v.double())
    greatest = 0.0
    for start in starts:
        rows = slice(start, start + count)
        context = replace(case.context, queries=count, offset=case.context.offset + start)
        expected, _ = REFERENCE.run(replace(wide, q=q[:, :, rows].double(), context=context))
        greatest = max(greatest, float((out[:, :, rows].double() - expected).abs().max()))
    return greatest

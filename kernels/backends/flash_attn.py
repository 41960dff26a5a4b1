"""FlashAttention, where its package is installed: causal, full and window attention on CUDA.

Dao, "FlashAttention-2", arXiv 2307.08691; package ``flash-attn``. It takes no masks and no biases:
additive edits ride along as further columns (``features.py``). Held against a stand-in of its
function, not run on a device.
"""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

import torch
from torch import Tensor

from lmms_causal.kernels.backends.conditions import beyond_adding, infinite, wants_gradient
from lmms_causal.kernels.backends.features import columns, largest, with_features
from lmms_causal.kernels.backends.fused import widened
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.patterns import Causal, Full
from lmms_causal.kernels.patterns.window import SlidingWindow

__all__ = ["BACKEND"]

_DEVICES = ("cuda",)
_WIDTH = 256


class _FlashAttention:
    name = "flash_attn"

    def missing(self) -> str | None:
        """Needs the package and a CUDA device."""
        if not _installed():
            return "the package flash-attn is not installed"
        if "cuda" in _DEVICES and not torch.cuda.is_available():
            return "there is no CUDA device"
        return None

    def verify(self, problem: Problem) -> str | None:
        """Refuse other patterns, types and alignments."""
        q, context, pattern = problem.q, problem.context, problem.pattern
        if q.device.type not in _DEVICES:
            return f"the tensors are on {q.device}"
        if q.dtype not in (torch.bfloat16, torch.float16):
            return f"it has bfloat16 and float16, not {str(q.dtype).removeprefix('torch.')}"
        if isinstance(pattern, SlidingWindow):
            if pattern.sink:
                return "its windows have no sinks"
        elif not isinstance(pattern, (Causal, Full)):
            return "it knows causal, full and window attention only"
        if not context.queries or not context.keys:
            return "there are no queries or no keys"
        if (
            not isinstance(pattern, Full)
            and not 0 <= context.offset <= context.keys - context.queries
        ):
            return f"it has no queries before or behind all keys (offset {context.offset})"
        other = beyond_adding(problem)
        if other:
            return f"it can add to scores, not {other}"
        if problem.softcap is not None:
            if problem.edits.terms:
                return "it caps what edits add, too"
            if "softcap" not in inspect.signature(_function()).parameters:
                return "this release of flash-attn has no soft cap"
        if problem.lse and wants_gradient(problem):
            return "its log-sum-exp has no gradient"
        if problem.edits.terms:
            limit = largest(q.dtype)
            if problem.scale <= 0 or infinite(problem, limit):
                return f"edits beyond {limit:g} do not fit; close edges by a pattern"
        width = max(q.shape[-1] + columns(problem.edits, q.dtype), problem.v.shape[-1])
        return f"heads of {width} are wider than {_WIDTH}" if width > _WIDTH else None

    def run(self, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Compute."""
        context, pattern, width = problem.context, problem.pattern, problem.v.shape[-1]
        q, k, v = with_features(problem.q, problem.k, problem.v, problem.edits, problem.scale, 8)
        q, k, v = widened(q, k, v)
        options: dict[str, Any] = {"softmax_scale": problem.scale}
        if not isinstance(pattern, Full):  # it has the last query see the last key
            seen = context.offset + context.queries
            k, v = k[:, :, :seen], v[:, :, :seen]
            options["causal"] = True
        if isinstance(pattern, SlidingWindow):
            options["window_size"] = (pattern.window - 1, 0)
        if problem.softcap is not None:
            options["softcap"] = problem.softcap
        if problem.lse:
            options["return_attn_probs"] = True
        found = _function()(*(x.transpose(1, 2) for x in (q, k, v)), **options)
        out, lse = (found[0], found[1]) if problem.lse else (found, None)
        out = out.transpose(1, 2)[..., :width]
        if problem.edits.head_scale is not None:
            out = (out * problem.edits.head_scale[:, :, None, None]).to(out.dtype)
        return out, lse


def _installed() -> bool:
    return importlib.util.find_spec("flash_attn") is not None


def _function() -> Any:
    from flash_attn import flash_attn_func

    return flash_attn_func


BACKEND = _FlashAttention()

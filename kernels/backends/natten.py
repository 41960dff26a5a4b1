"""NATTEN, where its package is installed: neighborhood attention of a whole picture on CUDA.

Hassani et al., arXiv 2403.04690 and 2504.16922; package ``natten``. Its tensors are grids, so the
sequence must be one grid and nothing else: a prompt with text around a picture is for others. Held
against a stand-in of its functions, not run on a device.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.patterns.neighborhood import Neighborhood

__all__ = ["BACKEND"]

_DEVICES = ("cuda",)


class _Natten:
    name = "natten"

    def missing(self) -> str | None:
        """Needs the package and a CUDA device."""
        if importlib.util.find_spec("natten") is None:
            return "the package natten is not installed"
        if "cuda" in _DEVICES and not torch.cuda.is_available():
            return "there is no CUDA device"
        return None

    def verify(self, problem: Problem) -> str | None:
        """Refuse all but plain neighborhood attention of one grid."""
        context, pattern = problem.context, problem.pattern
        if not isinstance(pattern, Neighborhood):
            return "it knows neighborhood attention only"
        if problem.q.device.type not in _DEVICES:
            return f"the tensors are on {problem.q.device}"
        regions = pattern.regions(context)
        whole = len(regions) == 1 and (regions[0].start, regions[0].stop) == (0, context.keys)
        if not whole or context.offset or context.queries != context.keys:
            return "the sequence is not one picture or video and nothing else"
        if problem.edits.terms:
            return "it has no edits of scores or weights"
        if problem.softcap is not None:
            return "it has no soft cap"
        if problem.lse:
            return "its log-sum-exp is not asked for, as releases differ in it"
        if problem.q.shape[-1] != problem.v.shape[-1]:
            return "values are not as wide as keys"
        if problem.q.dtype is torch.float64:
            return "it has no float64"
        return None

    def run(self, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Compute."""
        pattern = problem.pattern
        assert isinstance(pattern, Neighborhood)
        (region,) = pattern.regions(problem.context)
        axes = pattern.axes(region)
        groups = problem.q.shape[1] // problem.k.shape[1]  # not every release shares heads
        k, v = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (problem.k, problem.v))
        grids = (x.transpose(1, 2).unflatten(1, region.grid) for x in (problem.q, k, v))
        found = _function(len(axes))(
            *grids,
            kernel_size=tuple(axis.kernel for axis in axes),
            stride=tuple(axis.stride for axis in axes),
            dilation=tuple(axis.dilation for axis in axes),
            is_causal=tuple(axis.causal for axis in axes),
            scale=problem.scale,
        )
        out = found.flatten(1, len(axes)).transpose(1, 2)
        if problem.edits.head_scale is not None:
            out = (out * problem.edits.head_scale[:, :, None, None]).to(out.dtype)
        return out, None


def _function(rank: int) -> Any:
    import natten

    return {1: natten.na1d, 2: natten.na2d, 3: natten.na3d}[rank]


BACKEND = _Natten()

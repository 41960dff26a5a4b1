"""Our own kernels for processors: tiles of keys for many queries, ranges of keys for a few."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.native import abi
from lmms_causal.kernels.native.loading import library
from lmms_causal.kernels.native.loading import missing as library_missing
from lmms_causal.kernels.patterns import TilePlan, key_ranges, tile_plan

__all__ = ["BACKEND", "launch"]

_TILES = (64, 64)  # queries, keys
_FEW = 8  # queries, up to which each reads its keys by itself


class _Cpu:
    name = "cpu"

    def missing(self) -> str | None:
        """Needs the compiled library."""
        return library_missing()

    def verify(self, problem: Problem) -> str | None:
        """Serves float32, bfloat16 and float16 on the processor, without gradients."""
        q = problem.q
        for x in (q, problem.k, problem.v):
            if x.device.type != "cpu":
                return f"the tensors are on {x.device}"
            if not x.shape[-1]:
                return "heads have a width of 0"
        if str(q.dtype).removeprefix("torch.") not in abi.TYPES:
            return f"it has no {str(q.dtype).removeprefix('torch.')}"
        if torch.is_grad_enabled() and any(x.requires_grad for x in (q, problem.k, problem.v)):
            return "it computes no gradients"
        planes, shared = problem.pattern.planes(problem.context), problem.k.shape[1]
        if planes % shared and shared % planes:
            return f"the pattern has {planes} masks for {shared} key heads"
        return None

    def run(self, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Compute."""
        q, context = problem.q, problem.context
        out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], problem.v.shape[-1]).transpose(1, 2)
        lse = q.new_empty(q.shape[:3], dtype=torch.float32) if problem.lse else None
        if context.queries <= _FEW:
            starts, ranges = key_ranges(problem.pattern, context)
            call = _call(
                problem, problem.q, problem.k, problem.v, out, lse, problem.pattern.planes(context)
            )
            call.starts, call.start_count = starts.data_ptr(), len(starts)
            call.columns, call.count = ranges.data_ptr(), len(ranges)
            _check(_library().decode(ctypes.byref(call)))
            return out, lse
        plan = tile_plan(problem.pattern, context, *_TILES, reorder=not problem.edits.terms)
        return launch(problem, plan, out, lse)


def launch(
    problem: Problem, plan: TilePlan, out: Tensor, lse: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Run the tile kernel with a plan.

    Args:
        problem: what is to be computed; its pattern is not asked.
        plan: the tiles.
        out: ``[B, H, m, e]``, the last stride 1; overwritten.
        lse: ``[B, H, m]`` float32, contiguous, or None; overwritten.

    Raises:
        ValueError: lists that point outside, or sizes that do not fit.
    """
    _check_plan(plan)
    q, k, v = problem.q, problem.k, problem.v
    if plan.order is not None:
        q, k, v = q[:, :, plan.order], k[:, :, plan.order], v[:, :, plan.order]
    call = _call(problem, q, k, v, out, lse, plan.planes)
    call.q_tile, call.k_tile = plan.q_tile, plan.k_tile
    call.starts, call.start_count = plan.starts.data_ptr(), len(plan.starts)
    call.columns, call.masks = plan.columns.data_ptr(), plan.masks.data_ptr()
    call.count = len(plan.columns)
    call.bitmaps, call.bitmap_count = plan.bitmaps.data_ptr(), len(plan.bitmaps)
    _check(_library().prefill(ctypes.byref(call)))
    if plan.order is not None:
        back = plan.order.argsort()
        out = out[:, :, back]
        lse = None if lse is None else lse[:, :, back]
    return out, lse


class _Held(abi.Call):
    """A call that keeps alive what its pointers mean."""

    held: tuple[object, ...]


def _call(
    problem: Problem, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor | None, planes: int
) -> _Held:
    q, k, v = (_readable(x) for x in (q, k, v))
    call = _Held()
    call.q, call.k, call.v, call.o = q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr()
    call.lse = None if lse is None else lse.data_ptr()
    call.q_stride[:], call.k_stride[:] = q.stride()[:3], k.stride()[:3]
    call.v_stride[:], call.o_stride[:] = v.stride()[:3], out.stride()[:3]
    call.batch, call.heads, call.m, call.d = q.shape
    call.kv_heads, call.n, call.e = v.shape[1:]
    call.type = abi.TYPES[str(q.dtype)[6:]]
    call.threads = torch.get_num_threads() if _library().threads else 1
    call.scale, call.softcap = problem.scale, problem.softcap or 0.0
    call.planes = planes
    held: list[object] = [q, k, v, out, lse]
    edits = problem.edits
    if edits.terms:
        terms = (abi.Term * len(edits.terms))()
        for record, term in zip(terms, edits.terms, strict=True):
            record.kind = abi.KINDS[term.kind]
            record.w, record.w_stride[:] = _factors(term.keys, q, call.n, held)
            if term.rows is not None:
                record.u, record.u_stride[:] = _factors(term.rows, q, call.m, held)
        call.terms, call.term_count = terms, len(terms)
    if edits.head_scale is not None:
        _check_sizes(edits.head_scale, q, ())
        scale = edits.head_scale.to("cpu", torch.float32).expand(-1, q.shape[1]).contiguous()
        call.head_scale = scale.data_ptr()
        call.head_scale_stride = 0 if scale.shape[0] == 1 else scale.stride(0)
        held.append(scale)
    call.held = tuple(held)
    return call


def _readable(x: Tensor) -> Tensor:
    """The tensor, or a copy where numbers of a row are apart or not at addresses of their size."""
    if x.stride(-1) == 1 and x.data_ptr() % x.element_size() == 0:
        return x
    return x.clone(memory_format=torch.contiguous_format)


def _factors(x: Tensor, q: Tensor, count: int, held: list[object]) -> tuple[int, tuple[int, int]]:
    """Pointer and strides of ``[B or 1, H or 1, count]``."""
    _check_sizes(x, q, (count,))
    x = _readable(x.to("cpu", torch.float32))
    held.append(x)
    return x.data_ptr(), tuple(
        0 if size == 1 else x.stride(at) for at, size in enumerate(x.shape[:2])
    )  # type: ignore[return-value]


def _check_sizes(x: Tensor, q: Tensor, behind: tuple[int, ...]) -> None:
    """Refuse factors that are not ``[B or 1, H or 1, *behind]``: the kernel reads them blindly."""
    batch, heads = q.shape[:2]
    if (
        x.dim() != 2 + len(behind)
        or x.shape[0] not in (1, batch)
        or x.shape[1] not in (1, heads)
        or x.shape[2:] != behind
    ):
        want = ", ".join([f"{batch} or 1", f"{heads} or 1", *map(str, behind)])
        raise UserError(f"factors of an edit are {list(x.shape)} here; give them as [{want}]")


def _check_plan(plan: TilePlan) -> None:
    """Whether lists are what pointers to them are taken for; their numbers are checked in C++."""
    lists = (plan.starts, plan.columns, plan.masks)
    fits = all(x.dtype is torch.int32 and x.dim() == 1 and x.is_contiguous() for x in lists)
    fits &= len(plan.columns) == len(plan.masks)
    fits &= plan.bitmaps.dtype is torch.uint8 and plan.bitmaps.is_contiguous()
    if not fits or plan.bitmaps.shape[1:] != (plan.q_tile, plan.k_tile // 8):
        raise ValueError(f"attention was not computed: {abi.refusal(2)}")


@cache
def _library():  # type: ignore[no-untyped-def]
    return library()


def _check(status: int) -> None:
    if status:
        raise ValueError(f"attention was not computed: {abi.refusal(status)}")


BACKEND = _Cpu()

"""Compiled ``flex_attention`` of torch, given our tile lists: the choice on CUDA.

Its tile lists come from ours, not from a mask that is evaluated densely. What a partial tile lets
through is read from the plan's bitmaps, so one compiled kernel serves every pattern; terms of edits
are vectors that it reads too. The kernel is compiled on first use, seconds on a processor, and once
more when a second length is met; torch keeps the result on disk.

On a processor the compiled kernel has no gradients and no log-sum-exp. Two of its faults are kept
away from: lists of whole tiles are given even when empty (without, decoding does not compile), and
no position is captured as a tensor (which does not compile with dynamic shapes).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.backends.conditions import wants_gradient
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.backends.reordering import put_back, reordered
from lmms_causal.kernels.patterns import AttentionPattern, Context, TilePlan, tile_plan
from lmms_causal.kernels.patterns.base import ALL, NONE, SOME
from lmms_causal.kernels.patterns.combine import Both, Either, Without

__all__ = ["BACKEND", "Flex", "block_length"]

_COMPILED = 128  # variants of the kernel in one process; beyond, torch would not compile
_CLOSED = -2

_failed: dict[str, str] = {}
"""By device, why compiling failed in this process: not tried again."""


@dataclass(frozen=True)
class Flex:
    """The backend.

    Attributes:
        compiled: whether to compile; otherwise all scores are held in memory, which is for tests.
    """

    compiled: bool = True
    name: str = "flex"

    def missing(self) -> str | None:
        """Needs a torch that has it."""
        return None if _library() else f"torch {torch.__version__} has no flex_attention"

    def verify(self, problem: Problem) -> str | None:
        """Refuse what it cannot compile, and edits of weights."""
        device, dtype = problem.q.device.type, problem.q.dtype
        if not problem.context.queries or not problem.context.keys:
            return "there are no queries or no keys"
        if any(term.kind == "weigh" for term in problem.edits.terms):
            return "it edits scores, not weights"
        if not self.compiled:
            return "not compiled, it has no gradients" if wants_gradient(problem) else None
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            return f"its kernels have no {str(dtype).removeprefix('torch.')}"
        if device in _failed:
            return _failed[device]
        if device == "cpu":
            if problem.lse:
                return "compiled for a processor it returns no log-sum-exp"
            if wants_gradient(problem):
                return "compiled for a processor it has no gradients"
            if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
                return "torch compiles it for processors with AVX2 only"
            if _compiler() is None:
                return "compiling for the processor takes a C++ compiler; install g++ or set CXX"
        elif device != "cuda":
            return f"it is not tried on {device}"
        return None

    def run(self, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Compute.

        Raises:
            UserError: torch could not compile the kernel.
        """
        block = block_length(problem.pattern, problem.q.device.type)
        plan = tile_plan(problem.pattern, problem.context, block, block)
        problem = reordered(problem, plan.order)
        mask = _block_mask(problem.pattern, plan.context, block, str(problem.q.device))
        arguments: dict[str, Any] = {
            "score_mod": _score_mod(problem),
            "block_mask": mask,
            "scale": problem.scale,
            "enable_gqa": problem.k.shape[1] != problem.q.shape[1],
        }
        if problem.lse:
            arguments |= _aux()
        found = self._call(problem, arguments)
        out, lse = found if problem.lse else (found, None)
        if lse is not None and not isinstance(lse, Tensor):
            lse = lse.lse
        if problem.edits.head_scale is not None:
            out = (out * problem.edits.head_scale[:, :, None, None]).to(out.dtype)
        return put_back(out, plan.order), None if lse is None else put_back(lse, plan.order)

    def _call(self, problem: Problem, arguments: dict[str, Any]) -> Any:
        q, k, v = problem.q, problem.k, problem.v
        if not self.compiled:
            return _library().flex_attention(q, k, v, **arguments)
        try:
            with torch._dynamo.config.patch(recompile_limit=_COMPILED):
                return _compiled()(q, k, v, **arguments)
        except Exception as error:  # of the compiler, of which there are many kinds
            device = q.device.type
            _failed[device] = f"torch could not compile it ({_first_line(error)})"
            raise UserError(f"backend=flex: {_failed[device]}; use another backend") from error


def block_length(pattern: AttentionPattern, device: str) -> int:
    """The side of tiles: the pattern's own blocks, in which none is cut, where that is possible.

    On CUDA its kernels need 128.
    """
    if device == "cuda":
        return 128
    if isinstance(pattern, (Both, Either, Without)):
        return min(block_length(pattern.first, device), block_length(pattern.second, device))
    block = getattr(pattern, "block", None) or 64
    return next((size for size in (128, 64, 32) if block % size == 0), 64)


@cache
def _library() -> Any:
    try:
        import torch.nn.attention.flex_attention as library
    except ImportError:
        return None
    return library


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(_library().flex_attention, fullgraph=True)


@cache
def _compiler() -> str | None:
    names = [os.environ.get("CXX"), "g++", "clang++", "c++", "cl"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def _aux() -> dict[str, Any]:
    request = getattr(_library(), "AuxRequest", None)  # newer than return_lse
    return {"return_lse": True} if request is None else {"return_aux": request(lse=True)}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"


@lru_cache(maxsize=16)
def _block_mask(pattern: AttentionPattern, context: Context, block: int, device: str) -> Any:
    """Our tile lists as a ``BlockMask``, one for each query head or one for all."""
    plan = tile_plan(pattern, context, block, block)
    states = plan.states()
    table = _table(plan, states)
    if plan.planes > 1:
        repeats = context.heads // plan.planes
        states, table = states.repeat_interleave(repeats, 0), table.repeat_interleave(repeats, 0)
    else:
        table = table.expand(context.heads, -1, -1).contiguous()
    bits = torch.zeros(max(1, len(plan.bitmaps)), block, block, dtype=torch.bool)
    if len(plan.bitmaps):
        bit = torch.arange(8, dtype=torch.uint8)
        bits[:] = (plan.bitmaps[..., None] >> bit & 1).bool().flatten(2)
    lists = [_lists(states == some, device) for some in (SOME, ALL)]
    return _library().BlockMask.from_kv_blocks(
        *lists[0],
        *lists[1],  # though empty
        BLOCK_SIZE=block,
        mask_mod=_mask_mod(table.to(device), bits.to(device), block),
        seq_lengths=(context.queries, context.keys),
    )


def _lists(tiles: Tensor, device: str) -> tuple[Tensor, Tensor]:
    """Numbers ``[1, P, nq]`` and indices ``[1, P, nq, nk]`` of tiles, from bool ``[P, nq, nk]``."""
    index = tiles.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    return (
        tiles.sum(-1, dtype=torch.int32)[None].to(device),
        index.to(torch.int32)[None].contiguous().to(device),
    )


def _table(plan: TilePlan, states: Tensor) -> Tensor:
    """For each tile its bitmap, -1 for a whole one, -2 for a closed one; int64 ``[P, nq, nk]``."""
    table = torch.full(states.shape, _CLOSED)
    table[states != NONE] = plan.masks.long()
    return table


def _mask_mod(table: Tensor, bits: Tensor, block: int) -> Callable[..., Tensor]:
    """Look a pair up, given ``[H, nq, nk]`` and ``[M, block, block]``.

    Tables are flat and their extents numbers in another, see :func:`_fixed`.
    """
    extents = torch.tensor(table.shape, device=table.device)
    tiles, flags = _fixed(table.flatten()), _fixed(bits.flatten(), 1 << 18)

    def mask_mod(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        tile = tiles[(h * extents[1] + i // block) * extents[2] + j // block]
        at = (tile * block + i % block) * block + j % block
        return (tile == -1) | ((tile >= 0) & flags[at.clamp(min=0)])

    return mask_mod


def _fixed(flat: Tensor, least: int = 1 << 12) -> Tensor:
    """A vector padded to one of few lengths, which are constants of the compiled code.

    With dynamic sizes torch's template for processors renames their symbols by text, ``ks1`` within
    ``ks18``, and what comes out does not compile. Few lengths, few kernels.
    """
    length = least
    while length < len(flat):
        length *= 4
    padded = torch.nn.functional.pad(flat, (0, length - len(flat)))
    torch._dynamo.mark_static(padded)
    return padded


def _score_mod(problem: Problem) -> Callable[..., Tensor] | None:
    """Soft cap and terms as a function of a score and its place, or None."""
    softcap, terms = problem.softcap, problem.edits.terms
    if softcap is None and not terms:
        return None
    batch, heads, m, _ = problem.q.shape
    n, device = problem.context.keys, problem.q.device
    kinds = tuple(term.kind for term in terms)
    keys, rows = [torch.zeros(1, device=device)], [torch.zeros(1, device=device)]
    if terms:
        keys = [term.keys.float().expand(batch, heads, n).flatten() for term in terms]
        ones = torch.ones(1, 1, m, device=device)
        rows = [
            (ones if term.rows is None else term.rows.float()).expand(batch, heads, m).flatten()
            for term in terms
        ]
    flat_keys, flat_rows = _fixed(torch.cat(keys)), _fixed(torch.cat(rows))
    extents = torch.tensor([batch, heads, m, n], device=device)

    def score_mod(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        for place, kind in enumerate(kinds):
            head = (place * extents[0] + b) * extents[1] + h
            u = flat_rows[head * extents[2] + i]
            w = flat_keys[head * extents[3] + j]
            score = score + (u * w if kind == "add" else u * w * score.abs())
        return score

    return score_mod


BACKEND = Flex()

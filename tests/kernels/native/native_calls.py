"""Calls that the compiled kernels are tried on, also by ``sanitized.py`` under the sanitizers."""

from __future__ import annotations

import ctypes
import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import torch
from attention_cases import HEADS, SIZES, SPECIAL, context, eager, edits, problem
from torch import Tensor

from lmms_causal.kernels.backends import cpu
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.backends.reference import BACKEND as REFERENCE
from lmms_causal.kernels.native import abi
from lmms_causal.kernels.native.loading import Library
from lmms_causal.kernels.patterns import key_ranges, tile_plan

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WIDTHS = ((16, 16), (1, 1), (7, 5), (33, 16), (80, 33), (64, 128))


def calls(dtype: torch.dtype) -> Iterator[Problem]:
    """A compact grid: prompts and steps, heads that share, widths, edits, caps, masks, strides."""
    for place, (d, e) in enumerate(WIDTHS):
        heads = list(HEADS.values())[place % 3]
        for size in ("odd", "chunk", "step", "steps"):
            for name in ("causal", "blocks") if place < 2 else ("causal-rows",):
                where = context(*SIZES[size], *heads)
                yield problem(where, SPECIAL[name], dtype, width=d, value_width=e)
    for name in ("columns", "shuffled", "causal|rows", "full"):
        for size in ("square", "steps", "late"):
            yield problem(context(*SIZES[size], 4, 2), SPECIAL[name], dtype)
    for size in ("square", "step"):
        where = context(*SIZES[size], 4, 2)
        for kind in ("everything", "gain", "infinite", "all knocked out", "weigh", "product"):
            yield problem(where, SPECIAL["causal"], dtype, edits=edits(where, 2)[kind])
        chosen = edits(where, 2)["everything"]
        yield problem(where, SPECIAL["blocks"], dtype, edits=chosen, softcap=1.5)
        given = problem(where, SPECIAL["blocks"], dtype, softcap=0.4)
        yield given
        yield replace(given, scale=-0.7)
        yield replace(given, scale=0.0, softcap=None)
        yield from strided(problem(where, SPECIAL["causal"], dtype, width=15, value_width=9))


def strided(given: Problem) -> Iterator[Problem]:
    """The same sizes with numbers that lie otherwise: apart, shared, at odd places, backwards."""
    q, k, v = (x.contiguous() for x in (given.q, given.k, given.v))

    def within(x: Tensor) -> Tensor:
        """From an odd place on, rows an odd number of numbers apart."""
        room = x.shape[-1] + (4 if x.shape[-1] % 2 else 3)
        whole = x.new_full((x.shape[0] * x.shape[1] * x.shape[2] * room + 1,), torch.nan)
        inside = whole[1:].view(*x.shape[:3], room)[..., : x.shape[-1]]
        return inside.copy_(x)

    yield replace(given, q=within(q), k=within(k), v=within(v))
    # by position, then head, as projections leave them; and by number, then position
    yield replace(given, k=k.transpose(1, 2).contiguous().transpose(1, 2))
    turned = [x.mT.contiguous().mT for x in (q, k, v)]
    yield replace(given, q=turned[0], k=turned[1], v=turned[2])
    # one key head, one row of the batch, one key for all
    yield replace(given, k=k[:, :1].expand_as(k), v=v[:1].expand_as(v))
    yield replace(given, k=k[:, :, :1].expand_as(k))


def slack(given: Problem, want: Tensor, want_lse: Tensor) -> float:
    """The error that eager attention and the rounding of outputs and scores have."""
    closed = want_lse == -torch.inf
    largest = float(want_lse[~closed].abs().max()) if (~closed).any() else 0.0
    precision = torch.finfo(given.q.dtype).eps
    parts = 8 if given.q.dtype is torch.float32 else 1
    floor = parts * precision * max(1.0, float(want.abs().nan_to_num().max()))
    floor += 2 * torch.finfo(torch.float32).eps * largest
    return max(floor, float((eager(given).double() - want).abs().nan_to_num().max()))


def exact(given: Problem) -> tuple[Tensor, Tensor]:
    """The reference in float64, and its log-sum-exp."""
    q, k, v = (x.double() for x in (given.q, given.k, given.v))
    out, lse = REFERENCE.run(replace(given, q=q, k=k, v=v, lse=True))
    assert lse is not None
    return out, lse


def check(given: Problem) -> None:
    """Run the backend, and hold it against float64."""
    out, lse = cpu.BACKEND.run(given)
    want, want_lse = exact(given)
    torch.testing.assert_close(
        out.double(), want, atol=slack(given, want, want_lse), rtol=0, equal_nan=True
    )
    closed = want_lse == -torch.inf
    assert not out[closed].any()
    assert lse is not None
    torch.testing.assert_close(lse.double(), want_lse, atol=2e-2, rtol=1e-5, equal_nan=True)


class Raw:
    """A call as the library gets it, with lists that can be spoiled."""

    def __init__(self, decode: bool, generator: random.Random) -> None:
        size = generator.choice(["steps", "step"] if decode else ["square", "chunk", "odd"])
        pattern = SPECIAL[generator.choice(["blocks", "causal", "columns", "causal|rows"])]
        given = problem(context(*SIZES[size], 4, 2), pattern, batch=1, width=16)
        self.given, self.decode = given, decode
        self.out, self.lse = torch.empty_like(given.q), torch.empty(given.q.shape[:3])
        planes = pattern.planes(given.context)
        self.call = cpu._call(given, given.q, given.k, given.v, self.out, self.lse, planes)
        if decode:
            starts, ranges = key_ranges(pattern, given.context)
            self.lists = {"starts": starts.tolist(), "columns": ranges.flatten().tolist()}
        else:
            plan = tile_plan(pattern, given.context, 64, 64)
            self.call.q_tile, self.call.k_tile = 64, 64
            self.lists = {
                "starts": plan.starts.tolist(),
                "columns": plan.columns.tolist(),
                "masks": plan.masks.tolist(),
            }
            self.bitmaps = plan.bitmaps
            self.call.bitmap_count = len(plan.bitmaps)
            self.call.bitmaps = plan.bitmaps.data_ptr()
        self.call.start_count = len(self.lists["starts"])
        self.call.count = len(self.lists["columns"]) // (2 if decode else 1)

    def spoil(self, generator: random.Random) -> None:
        """Change something: an entry, two of them, a count, a size, or the bitmaps."""
        kind = generator.choice(["entry", "entry", "entry", "swap", "count", "size", "bitmaps"])
        name = generator.choice(list(self.lists))
        numbers = self.lists[name]
        if kind == "entry" and numbers:
            at = generator.randrange(len(numbers))
            numbers[at] = generator.choice(
                [-1, -(2**31), 2**31 - 1, numbers[at] + 1, numbers[at] - 1, numbers[at] + 1000, 0]
            )
            numbers[at] = max(-(2**31), min(2**31 - 1, numbers[at]))
        elif kind == "swap" and len(numbers) > 1:
            at = generator.randrange(len(numbers) - 1)
            numbers[at], numbers[at + 1] = numbers[at + 1], numbers[at]
        elif kind == "count":
            field = generator.choice(["start_count", "count"])
            low = -1 if field == "count" else -2
            # what is behind the end of a list is not there to be read
            setattr(self.call, field, getattr(self.call, field) + generator.choice([low, 1, 7]))
        elif kind == "size":
            field, value = generator.choice(
                [
                    *((one, bad) for one in ("m", "n", "batch") for bad in (-1, -(2**62), 2**62)),
                    *((one, bad) for one in ("heads", "kv_heads", "d", "e") for bad in (0, -4)),
                    *((one, bad) for one in ("planes", "heads") for bad in (3, 2**30)),
                    ("type", 3),
                    ("type", -1),
                    *([] if self.decode else [("q_tile", 0), ("k_tile", 12), ("k_tile", -64)]),
                    *([] if self.decode else [("q_tile", 2**31 - 1), ("k_tile", 2**30)]),
                ]
            )
            setattr(self.call, field, value)
        elif kind == "bitmaps" and not self.decode:
            self.call.bitmap_count, self.call.bitmaps = generator.choice(
                [(0, None), (self.call.bitmap_count, None), (-1, self.call.bitmaps)]
            )

    def valid(self) -> bool:
        """Whether the call may be computed, said in Python."""
        call, given = self.call, self.given
        if (call.batch, call.m, call.n) != (1, given.context.queries, given.context.keys):
            return False
        if (call.heads, call.kv_heads, call.d, call.e, call.type) != (4, 2, 16, 16, 0):
            return False
        if call.planes != given.pattern.planes(given.context):
            return False
        starts, columns = self.lists["starts"], self.lists["columns"]
        lines, step = given.context.queries, 2
        if not self.decode:
            if (call.q_tile, call.k_tile) != (64, 64):
                return False
            lines, step = -(-lines // 64), 1
        if not len(starts) == call.start_count == call.planes * lines + 1:
            return False
        if len(columns) != call.count * step or starts[0] or starts[-1] != call.count:
            return False
        if sorted(starts) != starts:
            return False
        tiles = -(-given.context.keys // 64)
        for first, behind in itertools.pairwise(starts):
            own = columns[first * step : behind * step]
            if self.decode:
                if own != sorted(own) or any(not 0 <= x <= given.context.keys for x in own):
                    return False
            elif own != sorted(set(own)) or any(not 0 <= x < tiles for x in own):
                return False
        if self.decode:
            return True
        masks = self.lists["masks"]
        if any(x < -1 or x >= call.bitmap_count for x in masks):
            return False
        return bool(call.bitmaps) or all(x == -1 for x in masks)

    def run(self, library: Library) -> int:
        """Call the library; its status. Lists end where their memory ends."""
        held = {
            name: torch.tensor(numbers, dtype=torch.int32) for name, numbers in self.lists.items()
        }
        for name, numbers in held.items():
            setattr(self.call, name, numbers.data_ptr() or None)
        function = library.decode if self.decode else library.prefill
        return int(function(ctypes.byref(self.call)))


def fuzz(library: Library, rounds: int, seed: int) -> list[int]:
    """Spoil calls in ways that the library must tell apart; statuses, in order."""
    generator = random.Random(seed)
    statuses = []
    for _ in range(rounds):
        raw = Raw(generator.random() < 0.5, generator)
        for _ in range(generator.randrange(3)):
            raw.spoil(generator)
        status = raw.run(library)
        assert (status == 0) == raw.valid(), (status, raw.lists, abi.refusal(status))
        statuses.append(status)
    return statuses

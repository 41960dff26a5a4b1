"""What optional packages are called with: stand-ins record calls and compute what is documented."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch
from attention_cases import SIZES, SPECIAL, context, edits, problem
from torch import Tensor

from lmms_causal.kernels.backends import flash_attn as flash
from lmms_causal.kernels.backends import natten as natten_backend
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.backends.reference import BACKEND as REFERENCE
from lmms_causal.kernels.edits import NO_EDITS, Edits
from lmms_causal.kernels.patterns import Context
from lmms_causal.kernels.patterns.neighborhood import Neighborhood
from lmms_causal.kernels.patterns.window import SlidingWindow

CALLS: list[dict[str, Any]] = []


def flash_attn_func(
    q,
    k,
    v,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """FlashAttention's documented meaning, on ``[B, N, H, D]``, aligned at the last key."""
    CALLS.append(
        {"width": q.shape[-1], "keys": k.shape[1], "causal": causal, "window": window_size}
    )
    assert q.dtype in (torch.bfloat16, torch.float16)
    assert dropout_p == 0
    assert q.shape[-1] == k.shape[-1] == v.shape[-1]
    q, k, v = (x.transpose(1, 2).double() for x in (q, k, v))
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) * softmax_scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    m, n = scores.shape[-2:]
    at = torch.arange(m)[:, None] + n - m
    left, right = window_size[0], 0 if causal else window_size[1]
    keys = torch.arange(n)
    open_ = torch.ones(m, n, dtype=torch.bool)
    if left >= 0:
        open_ &= keys >= at - left
    if right >= 0:
        open_ &= keys <= at + right
    scores = scores.masked_fill(~open_, -torch.inf)
    out = (scores.softmax(-1) @ v).transpose(1, 2).to(torch.bfloat16)
    return (out, scores.logsumexp(-1).float(), None) if return_attn_probs else out


def neighborhood(query, key, value, kernel_size, stride=1, dilation=1, is_causal=False, scale=None):
    """Neighborhood attention on ``[B, *grid, H, D]``, by the published rule, place by place."""
    grid = query.shape[1:-2]
    CALLS.append({"kernel": kernel_size, "stride": stride, "dilation": dilation, "grid": grid})
    assert query.shape == key.shape == value.shape

    def seen(axis: int, x: int) -> set[int]:
        length, k, s, d = grid[axis], kernel_size[axis], stride[axis], dilation[axis]
        group, t = x % d, x // d
        places = -(-(length - group) // d)
        if is_causal[axis]:
            lead = min(t // s * s + s - 1, places - 1)
            chosen = range(max(lead - k + 1, 0), t + 1)
        else:
            lead = min(t // s * s + s // 2, places - 1)
            left, right = k // 2, k // 2 - (1 - k % 2)
            centre = min(max(lead, left), places - 1 - right)
            chosen = range(centre - left, centre + right + 1)
        return {group + d * u for u in chosen}

    shape = torch.tensor(grid)
    count = int(shape.prod())
    at = torch.stack(torch.unravel_index(torch.arange(count), tuple(grid)), 1).tolist()
    open_ = torch.zeros(count, count, dtype=torch.bool)
    for i, here in enumerate(at):
        sets = [seen(axis, x) for axis, x in enumerate(here)]
        for j, there in enumerate(at):
            open_[i, j] = all(y in some for y, some in zip(there, sets, strict=True))
    q, k, v = (x.flatten(1, -3).transpose(1, 2).double() for x in (query, key, value))
    scores = (q @ k.transpose(-1, -2) * scale).masked_fill(~open_, -torch.inf)
    out = (scores.softmax(-1) @ v).transpose(1, 2).unflatten(1, grid)
    return out.to(query.dtype)


@pytest.fixture
def packages(monkeypatch) -> Iterator[None]:
    """Both packages, on the processor."""
    for name, functions in (
        ("flash_attn", {"flash_attn_func": flash_attn_func}),
        ("natten", {"na1d": neighborhood, "na2d": neighborhood, "na3d": neighborhood}),
    ):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        for function, it in functions.items():
            setattr(module, function, it)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(flash, "_DEVICES", ("cpu",))
    monkeypatch.setattr(natten_backend, "_DEVICES", ("cpu",))
    CALLS.clear()
    yield


def exact(given: Problem) -> tuple[Tensor, Tensor | None]:
    return REFERENCE.run(replace(given, q=given.q.double(), k=given.k.double(), v=given.v.double()))


FLASH = ("causal", "full", "window")
KINDS = ("none", "bias", "bias by head", "product", "knock-out", "heads")


@pytest.mark.parametrize("size", ["odd", "step", "steps", "chunk", "inside"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FLASH)
def test_flash_attn(packages, name: str, kind: str, size: str) -> None:
    assert flash.BACKEND.missing() is None
    where = context(*SIZES[size], 4, 2)
    pattern = SlidingWindow(17) if name == "window" else SPECIAL[name]
    chosen = NO_EDITS if kind == "none" else edits(where, 2)[kind]
    given = problem(where, pattern, torch.bfloat16, edits=chosen, width=24, value_width=20)
    assert flash.BACKEND.verify(given) is None
    out, lse = flash.BACKEND.run(given)
    want, want_lse = exact(given)
    torch.testing.assert_close(out.double(), want, atol=2e-2, rtol=0)
    torch.testing.assert_close(lse.double(), want_lse, atol=2e-3, rtol=1e-6)
    (call,) = CALLS
    assert call["width"] % 8 == 0
    assert call["causal"] is (name != "full")
    assert call["window"] == ((16, 0) if name == "window" else (-1, -1))
    if name != "full":
        assert call["keys"] == where.offset + where.queries


def test_flash_attn_soft_cap(packages) -> None:
    given = problem(context(*SIZES["odd"], 4, 2), SPECIAL["causal"], torch.bfloat16, softcap=1.5)
    out, _ = flash.BACKEND.run(given)
    torch.testing.assert_close(out.double(), exact(given)[0], atol=2e-2, rtol=0)


def test_flash_attn_says_what_it_cannot(packages) -> None:
    where = context(*SIZES["odd"], 4, 2)

    def reason(pattern: str = "causal", dtype=torch.bfloat16, at=where, **more: Any) -> str:
        said = flash.BACKEND.verify(problem(at, SPECIAL[pattern], dtype, **more))
        assert said is not None
        return said

    every = edits(where, 2)
    assert "float32" in reason(dtype=torch.float32)
    assert "causal, full and window" in reason("columns")
    assert "weigh" in reason(edits=every["weigh"])
    assert "gain" in reason(edits=every["gain"])
    assert "close edges by a pattern" in reason(edits=every["infinite"])
    assert "caps" in reason(edits=every["bias"], softcap=2.0)
    assert "wider" in reason(edits=every["bias"], width=256)
    assert "offset -60" in reason(at=context(*SIZES["early"], 4, 2))
    assert "offset 25" in reason(at=context(*SIZES["late"], 4, 2))
    sink = problem(where, SlidingWindow(5, sink=2), torch.bfloat16)
    assert "sinks" in (flash.BACKEND.verify(sink) or "")


@pytest.mark.parametrize(
    "pattern",
    [
        Neighborhood((7,), grid=(60,)),
        Neighborhood((6,), (4,), (2,), (True,), grid=(60,)),
        Neighborhood((3, 4), (1, 2), grid=(6, 10)),
        Neighborhood((3, 2), (2, 1), (2, 3), (True, False), grid=(6, 10)),
        Neighborhood((2, 3, 3), (1, 3, 2), grid=(3, 4, 5)),
    ],
    ids=str,
)
def test_natten(packages, pattern: Neighborhood) -> None:
    assert natten_backend.BACKEND.missing() is None
    chosen = Edits(head_scale=torch.tensor([[0.5, 1.0, 2.0, 0.0]]))
    given = problem(Context(60, 60, 0, 4, 2), pattern, edits=chosen, lse=False)
    assert natten_backend.BACKEND.verify(given) is None
    out, _ = natten_backend.BACKEND.run(given)
    torch.testing.assert_close(out.double(), exact(given)[0], atol=2e-6, rtol=0)
    assert CALLS[0]["grid"] == pattern.grid


def test_natten_says_what_it_cannot(packages) -> None:
    pattern = Neighborhood((3, 3), grid=(6, 10))
    where = Context(60, 60, 0, 4, 2)
    verify = natten_backend.BACKEND.verify
    plain = problem(where, pattern, lse=False)
    for given, word in (
        (problem(where, SPECIAL["causal"], lse=False), "neighborhood"),
        (problem(where, pattern), "log-sum-exp"),
        (problem(Context(1, 60, 59, 4, 2), pattern, lse=False), "nothing else"),
        (problem(where, pattern, edits=edits(where, 2)["bias"], lse=False), "edits"),
        (problem(where, pattern, value_width=8, lse=False), "wide"),
        (replace(plain, softcap=1.0), "soft cap"),
    ):
        assert word in (verify(given) or "")
    picture = problem(context(100, 100, 0, 4, 2), Neighborhood((3,)), lse=False)
    assert "nothing else" in (verify(picture) or "")

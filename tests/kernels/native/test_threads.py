"""Threads change nothing: neither those of a call, nor those that call."""

from __future__ import annotations

import threading

import pytest
import torch
from attention_cases import SPECIAL, context, edits, problem
from native_calls import TYPES

from lmms_causal.kernels.backends import cpu
from lmms_causal.kernels.backends.problem import Problem
from lmms_causal.kernels.native import loading as loading


def _problems(dtype: torch.dtype) -> list[Problem]:
    prompt = context(260, 260, 0, 4, 2)
    return [
        problem(prompt, SPECIAL["causal"], dtype, width=64),
        problem(prompt, SPECIAL["columns"], dtype, edits=edits(prompt, 2)["everything"]),
        problem(context(1, 9000, 8999, 4, 1), SPECIAL["full"], dtype, batch=1, width=64),
        problem(context(3, 3000, 2997, 4, 2), SPECIAL["causal"], dtype, width=80),
    ]


def _bits(given: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    out, lse = cpu.BACKEND.run(given)
    assert lse is not None
    assert not out.isnan().any()
    return out, lse


def _same(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", TYPES)
def test_same_bits_again_and_with_two_threads(own, two_threads, dtype: str) -> None:
    if not own.threads:
        pytest.skip("there is no OpenMP here")
    for given in _problems(TYPES[dtype]):
        torch.set_num_threads(1)
        once = _bits(given)
        assert _same(once, _bits(given))
        for threads in (2, 5):
            torch.set_num_threads(threads)
            assert _same(once, _bits(given))


@pytest.mark.slow
def test_same_bits_without_openmp(own, two_threads, use) -> None:
    for given in _problems(torch.bfloat16):
        use(own)
        parallel = _bits(given)
        use(loading._loaded(own.level, threads=False))
        assert _same(parallel, _bits(given))


def test_callers_at_once_do_not_share_memory(own, two_threads) -> None:
    # large and small calls by turns, so that the block that is kept is taken, grown and refused
    given = [one for dtype in TYPES.values() for one in _problems(dtype)[:3]]
    want = [_bits(one) for one in given]
    wrong: list[int] = []
    begin = threading.Barrier(3)

    def caller(first: int) -> None:
        begin.wait()
        for turn in range(30):
            which = (first + turn) % len(given)
            if not _same(_bits(given[which]), want[which]):
                wrong.append(which)

    callers = [threading.Thread(target=caller, args=(first,)) for first in (0, 3, 7)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert not wrong

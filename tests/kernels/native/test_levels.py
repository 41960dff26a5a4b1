"""The kernels of each level of instructions against float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attention_cases import SPECIAL, context, problem
from native_calls import TYPES, calls, check

from lmms_causal.kernels.backends import cpu
from lmms_causal.kernels.native import loading as loading
from lmms_causal.kernels.native.build import LEVELS, name

WAYS = [(level, threads) for level in range(len(LEVELS)) for threads in (True, False)]


@pytest.mark.parametrize("dtype", TYPES)
def test_is_attention(own, dtype: str) -> None:
    for given in calls(TYPES[dtype]):
        check(given)


@pytest.fixture(params=WAYS, ids=lambda way: name(*way))
def each(own, request, use):
    """The library of each level up to the machine's, with and without threads."""
    level, threads = request.param
    if level > own.level:
        pytest.skip(f"this processor is of level {own.level}")
    if threads and not own.threads:
        pytest.skip("there is no OpenMP here")
    one = loading._loaded(level, threads)
    use(one)
    return one


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", TYPES)
def test_is_attention_at_every_level(each, dtype: str) -> None:
    for given in calls(TYPES[dtype]):
        check(given)


def _all_values(dtype: torch.dtype) -> torch.Tensor:
    """All numbers of a type of 16 bits, ``[65536]``."""
    return torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype)


def _one_key_gives_its_value(dtype: torch.dtype, queries: int) -> None:
    v = _all_values(dtype)[None, None, None]
    where = context(queries, 1, 0, 1, 1)
    given = problem(where, SPECIAL["full"], dtype, batch=1)
    out, _ = cpu.BACKEND.run(replace(given, v=v))
    # products of pairs of bfloat16 take numbers below the normal ones for 0
    tiny = (v.float().abs() < torch.finfo(dtype).tiny) & (dtype is torch.bfloat16)
    want = v.float().masked_fill(tiny & (out == 0), 0.0).to(dtype)
    torch.testing.assert_close(out, want.expand_as(out), atol=0, rtol=0, equal_nan=True)


def _two_keys_give_the_rounded_mean(dtype: torch.dtype, queries: int) -> None:
    draw = torch.Generator().manual_seed(3)
    v = (torch.rand(1, 1, 2, 4096, generator=draw) + 1).to(dtype)
    given = problem(context(queries, 2, 5, 1, 1), SPECIAL["full"], dtype, batch=1)
    out, _ = cpu.BACKEND.run(replace(given, v=v, scale=0.0))
    want = v.float().mean(2, keepdim=True).to(dtype)  # exact before it is rounded: ties occur
    assert torch.equal(out, want.expand_as(out))


@pytest.mark.parametrize("queries", [1, 20])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_number_of_16_bits_is_read_and_written(own, dtype, queries: int) -> None:
    _one_key_gives_its_value(dtype, queries)
    _two_keys_give_the_rounded_mean(dtype, queries)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_number_is_read_and_written_at_every_level(each, dtype) -> None:
    for queries in (1, 20):
        _one_key_gives_its_value(dtype, queries)
        _two_keys_give_the_rounded_mean(dtype, queries)

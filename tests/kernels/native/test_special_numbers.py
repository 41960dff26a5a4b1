"""Infinities, what is not a number, and nothing at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attention_cases import SPECIAL, context, problem
from native_calls import TYPES, exact, slack

from lmms_causal.kernels.attention import attention
from lmms_causal.kernels.backends import cpu
from lmms_causal.kernels.backends.problem import Problem

SHAPES = {"prompt": (200, 200, 0), "steps": (5, 200, 195)}


def _given(shape: str, dtype: torch.dtype, pattern: str = "causal") -> Problem:
    given = problem(context(*SHAPES[shape], 4, 2), SPECIAL[pattern], dtype, width=24)
    return replace(given, q=given.q.clone(), k=given.k.clone(), v=given.v.clone())


def _not_numbers(dtype: torch.dtype) -> list[torch.Tensor]:
    """Quiet ones of either sign, with nothing more to tell and with all there can be."""
    if dtype is torch.float32:
        words = torch.tensor([0x7FC00000, 0x7FC00001, -0x400000, -1], dtype=torch.int32)
        return list(words.view(dtype))
    return [torch.tensor(torch.nan, dtype=dtype), torch.tensor(-1, dtype=torch.int16).view(dtype)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_a_key_that_is_not_a_number_spoils_the_queries_that_see_it(own, dtype, shape) -> None:
    clean = _given(shape, TYPES[dtype])
    want, want_lse = exact(clean)
    for value in _not_numbers(TYPES[dtype]):
        for at in (0, 100, 198):
            given = _given(shape, TYPES[dtype])
            given.k[:, 1, at, 3] = value
            out, lse = cpu.BACKEND.run(given)
            assert lse is not None
            sees = torch.arange(clean.context.queries) + clean.context.offset >= at
            assert out[:, 2:, sees].isnan().all()
            assert lse[:, 2:, sees].isnan().all()
            error = (out.double() - want).abs()
            error[:, 2:, sees] = 0
            assert error.max() <= slack(clean, want, want_lse)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_a_query_that_is_not_a_number_spoils_itself(own, dtype, shape) -> None:
    given = _given(shape, TYPES[dtype])
    given.q[0, 1, 3] = torch.nan
    out, lse = cpu.BACKEND.run(given)
    assert lse is not None
    spoiled = torch.zeros(out.shape[:3], dtype=torch.bool)
    spoiled[0, 1, 3] = True
    assert out[spoiled].isnan().all()
    assert not out[~spoiled].isnan().any()
    assert torch.equal(lse.isnan(), spoiled)


@pytest.mark.parametrize("where", ["q", "k"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_infinite_scores_are_as_in_the_reference(own, dtype, shape, where: str) -> None:
    for sign in (1, -1):
        given = _given(shape, TYPES[dtype])
        getattr(given, where)[0, 0, 4, 5] = sign * torch.inf
        want, want_lse = exact(given)
        out, _ = cpu.BACKEND.run(given)
        usual = slack(_given(shape, TYPES[dtype]), want.nan_to_num(), want_lse.nan_to_num())
        torch.testing.assert_close(out.double(), want, atol=usual, rtol=0, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_a_query_that_sees_nothing_is_0_beside_infinite_values(own, dtype, shape) -> None:
    given = _given(shape, TYPES[dtype], "causal-rows")
    given.v[:] = torch.inf
    _, want_lse = exact(given)
    closed = want_lse == -torch.inf
    out, _ = cpu.BACKEND.run(given)
    assert not out[closed].any()
    if shape == "prompt":
        assert closed.any()


@pytest.mark.parametrize(("batch", "m", "n"), [(0, 20, 20), (0, 1, 9), (2, 0, 9), (2, 20, 0)])
@pytest.mark.parametrize("dtype", TYPES)
def test_nothing(own, dtype: str, batch: int, m: int, n: int) -> None:
    q = torch.randn(batch, 4, m, 16).to(TYPES[dtype])
    k = torch.randn(batch, 2, n, 16).to(TYPES[dtype])
    for queries in (q, q[:, :, :1]):
        out, lse = attention(queries, k, k, return_lse=True, backend="cpu")
        assert out.shape == queries.shape
        assert not out.any()
        assert (lse == -torch.inf).all()

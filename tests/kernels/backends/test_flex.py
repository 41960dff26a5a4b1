"""Flex: its masks are our tile lists, it says when it cannot compile, and the compiled kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import pytest
import torch
from attention_cases import SIZES, SPECIAL, context, edits, patterns, problem
from torch.nn.attention.flex_attention import create_block_mask

from lmms_causal.errors import UserError
from lmms_causal.kernels.backends import flex
from lmms_causal.kernels.backends.reference import BACKEND as REFERENCE
from lmms_causal.kernels.edits import Edits
from lmms_causal.kernels.patterns import tile_plan

PATTERNS = patterns()


@pytest.fixture
def _forgotten(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(flex, "_failed", {})
    yield


@pytest.mark.parametrize("name", PATTERNS)
def test_block_masks_are_those_that_torch_would_make(name: str) -> None:
    where, pattern = context(150, 150, 0, 4, 2), PATTERNS[name]
    block = flex.block_length(pattern, "cpu")
    ours = flex._block_mask(pattern, where, block, "cpu")
    order = tile_plan(pattern, where, block, block).order
    place = torch.arange(150) if order is None else order
    theirs = create_block_mask(
        lambda b, h, i, j: pattern.allowed(where, h, place[i], place[j]),
        1,
        4,
        150,
        150,
        device="cpu",
        BLOCK_SIZE=block,
    )
    assert ours.full_kv_num_blocks is not None, "the lists of whole tiles are given, even if empty"
    assert torch.equal(ours.to_dense().expand(1, 4, -1, -1), theirs.to_dense())
    h, i, j = torch.arange(4)[:, None, None], torch.arange(150)[:, None], torch.arange(150)
    assert torch.equal(
        ours.mask_mod(0, h, i, j).expand(4, 150, 150),
        pattern.allowed(where, h, place[i], place[j]).expand(4, 150, 150),
    )


def test_failure_to_compile_is_told_once_and_then_known(_forgotten, monkeypatch) -> None:
    def broken(*args: object, **more: object) -> NoReturn:
        raise RuntimeError("C++ compile error\nmany lines")

    monkeypatch.setattr(flex, "_compiled", lambda: broken)
    monkeypatch.setattr(flex, "_compiler", lambda: "g++")
    given = problem(context(*SIZES["square"], 4, 2), SPECIAL["causal"], lse=False)
    assert flex.BACKEND.verify(given) is None
    with pytest.raises(UserError, match=r"backend=flex: .*C\+\+ compile error\); use another"):
        flex.BACKEND.run(given)
    assert "could not compile" in (flex.BACKEND.verify(given) or "")


def test_says_what_a_processor_lacks(_forgotten, monkeypatch) -> None:
    where = context(*SIZES["square"], 4, 2)
    plain = problem(where, SPECIAL["causal"], lse=False)
    verify = flex.BACKEND.verify
    assert "log-sum-exp" in (verify(replace(plain, lse=True)) or "")
    grad = replace(plain, q=plain.q.clone().requires_grad_())
    assert "gradients" in (verify(grad) or "")
    assert "float64" in (verify(problem(where, SPECIAL["causal"], torch.float64, lse=False)) or "")
    assert "weights" in (verify(replace(plain, edits=edits(where, 2)["weigh"])) or "")
    monkeypatch.setattr(flex, "_compiler", lambda: None)
    assert "C++ compiler" in (verify(plain) or "")


@pytest.mark.exhaustive
@pytest.mark.parametrize("size", [(150, 150, 0), (1, 1100, 1099)], ids=["prefill", "decode"])
def test_compiled(_forgotten, monkeypatch, tmp_path, size: tuple[int, int, int]) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    m, n, _ = size
    every = edits(context(*size, 4, 2), 1)["everything"]
    terms = tuple(term for term in every.terms if term.kind != "weigh")
    chosen = Edits(terms, every.head_scale)
    for name, longer, edit in (
        ("blocks", 0, None),
        ("causal", 7, None),  # no whole tile in one step, another length
        ("columns", 20, None),
        ("blocks", 0, chosen),
    ):
        where = context(m + (longer if m > 1 else 0), n + longer, size[2] + longer * (m == 1), 4, 2)
        given = problem(where, SPECIAL[name], batch=1, width=32, lse=False)
        if edit is not None:
            given = replace(given, edits=edit, softcap=20.0)
        assert flex.BACKEND.verify(given) is None
        out, _ = flex.BACKEND.run(given)
        double = replace(given, q=given.q.double(), k=given.k.double(), v=given.v.double())
        torch.testing.assert_close(out.double(), REFERENCE.run(double)[0], atol=3e-6, rtol=0)

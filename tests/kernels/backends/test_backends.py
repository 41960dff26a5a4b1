"""Every backend on every pattern, type, grouping of heads and size, against float64.

A backend joins these tests by being registered. Memory that is not written is NaN here, and so is
what lies behind the keys.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Hashable, Iterator
from dataclasses import replace

import pytest
import torch
from attention_cases import HEADS, SIZES, SPECIAL, context, eager, edits, patterns, problem
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import lmms_causal.kernels.backends as folder
from lmms_causal.errors import UserError
from lmms_causal.kernels.attention import attention, explain
from lmms_causal.kernels.backends.flex import Flex
from lmms_causal.kernels.backends.problem import Backend, Problem
from lmms_causal.kernels.backends.reference import BACKEND as REFERENCE
from lmms_causal.kernels.backends.registry import backends

PATTERNS = patterns()
NAMES = sorted(backends())
OPTIONAL = ("flash_attn", "natten", "triton_sparse")
HERE = [name for name in NAMES if name not in OPTIONAL or not backends()[name].missing()]
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.fixture(autouse=True)
def _unwritten_memory_is_nan(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.set_deterministic_debug_mode("warn")
    assert torch.empty(3).isnan().all()
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(params=HERE)
def backend(request, monkeypatch) -> Backend:
    found = backends()[request.param]
    reason = found.missing()
    if reason:
        pytest.skip(f"backend {request.param}: {reason}")
    if found.name == "flex":  # compiled: test_flex.py
        monkeypatch.setattr(
            torch.nn.attention.flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True
        )
        return Flex(compiled=False)
    return found


_known: dict[tuple[Hashable, ...], tuple[Tensor, Tensor, float]] = {}


def exact(given: Problem) -> tuple[Tensor, Tensor, float]:
    """The reference in float64, on the numbers given, and the error of eager attention."""
    tensors = [given.q, given.k, given.v, given.edits.head_scale]
    for term in given.edits.terms:
        tensors += [term.keys, term.rows]
    digest = hashlib.sha256()
    for x in tensors:
        digest.update(b"" if x is None else x.contiguous().view(torch.uint8).numpy().tobytes())
    kinds = tuple(term.kind for term in given.edits.terms)
    key = (given.pattern, given.context, given.softcap, given.q.dtype, kinds, digest.digest())
    if key not in _known:
        q, k, v = (x.double() for x in (given.q, given.k, given.v))
        out, lse = REFERENCE.run(replace(given, q=q, k=k, v=v, lse=True))
        assert lse is not None
        _known[key] = out, lse, float((eager(given).double() - out).abs().max())
    return _known[key]


def served(backend: Backend, given: Problem) -> Problem | None:
    """The problem, without its log-sum-exp where that is what is refused, or None with a reason."""
    reason = backend.verify(given)
    if reason is None:
        return given
    assert len(reason) > 10, "a refusal says why"
    with pytest.raises(UserError, match=f"backend={backend.name}: .*auto"):
        called(given, backend.name)
    given = replace(given, lse=False)
    return given if backend.verify(given) is None else None


def called(given: Problem, name: str) -> Tensor:
    """The problem by the front door."""
    out = attention(
        given.q,
        given.k,
        given.v,
        pattern=given.pattern,
        edits=given.edits,
        scale=given.scale,
        offset=given.context.offset,
        regions=given.context.regions,
        softcap=given.softcap,
        return_lse=given.lse,
        backend=name,
    )
    return out[0] if given.lse else out


def compare(backend: Backend, given: Problem) -> bool:
    """Hold a backend against float64; False if it refuses, and says why."""
    able = served(backend, given)
    if able is None:
        return False
    out, lse = backend.run(able)
    want, want_lse, usual = exact(given)
    closed = want_lse == -torch.inf
    largest = float(want_lse[~closed].abs().max()) if (~closed).any() else 0.0
    assert out.dtype is given.q.dtype
    assert out.shape == want.shape
    precision = torch.finfo(out.dtype).eps
    floor = (8 if out.dtype is torch.float32 else 1) * precision * max(1, float(want.abs().max()))
    floor += float(torch.finfo(torch.float32).eps) * 2 * largest  # scores are float32 numbers
    slack = max(floor, usual)
    error = float((out.double() - want).abs().max())
    assert error <= slack, f"error {error:.2e} where eager attention and rounding have {slack:.2e}"
    assert not out[closed].any(), "a query that sees nothing has output 0"
    if able.lse:
        assert lse is not None
        assert lse.dtype is torch.float32
        assert lse.shape == want_lse.shape
        assert (lse[closed] == -torch.inf).all()
        rounding = max(2e-5 if out.dtype is torch.float32 else 1e-4, 1e-6 * largest)
        if given.edits.terms and out.dtype is not torch.float32:
            rounding = max(rounding, precision)
        torch.testing.assert_close(lse[~closed].double(), want_lse[~closed], atol=rounding, rtol=0)
    else:
        assert lse is None
    return True


def cases(name: str, dtype: str, every: bool) -> Iterator[Problem]:
    """Problems of a pattern: all sizes by all groupings, or each size with one of them."""
    groupings = list(HEADS.values())
    for place, size in enumerate(SIZES.values(), list(TYPES).index(dtype)):
        for heads in groupings if every else [groupings[place % 3]]:
            where = context(*size, *heads)
            try:
                PATTERNS[name].check(where)
            except UserError:
                continue  # as where it needs a picture and there is none
            yield problem(where, PATTERNS[name], TYPES[dtype])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", PATTERNS)
def test_is_attention(backend: Backend, name: str, dtype: str) -> None:
    assert [compare(backend, given) for given in cases(name, dtype, False)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", PATTERNS)
def test_is_attention_whatever_the_grouping(backend: Backend, name: str, dtype: str) -> None:
    assert [compare(backend, given) for given in cases(name, dtype, True)]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "name"), [(1000, "blocks"), (1000, "causal|rows"), (2049, "causal")])
def test_is_attention_at_length(backend: Backend, n: int, name: str, dtype: str) -> None:
    where = context(n, n, 0, 2, 1)
    compare(backend, problem(where, SPECIAL[name], TYPES[dtype], batch=1, width=64))
    step = context(1, n, n - 1, 2, 1)
    compare(backend, problem(step, SPECIAL[name], TYPES[dtype], batch=1, width=64))


@pytest.mark.parametrize("widths", [(8, 24), (40, 16), (80, 80)])
@pytest.mark.parametrize("dtype", TYPES)
def test_widths(backend: Backend, dtype: str, widths: tuple[int, int]) -> None:
    for name in ("causal", "blocks"):
        for size in ("square", "step", "chunk"):
            where = context(*SIZES[size], 4, 2)
            width, value_width = widths
            given = problem(
                where, SPECIAL[name], TYPES[dtype], width=width, value_width=value_width
            )
            compare(backend, given)


@pytest.mark.parametrize("kind", edits(context(4, 4, 0, 4, 4), 2))
@pytest.mark.parametrize("dtype", TYPES)
def test_edits(backend: Backend, dtype: str, kind: str) -> None:
    done = 0
    for name, size, shared in (
        ("causal", "square", 2),
        ("causal", "chunk", 4),
        ("causal", "step", 2),
        ("causal", "late", 2),
        ("columns", "square", 2),
        ("blocks", "early", 4),
        ("blocks", "chunk", 2),
        ("blocks", "step", 2),
        ("shuffled", "square", 4),
    ):
        where = context(*SIZES[size], 4, shared)
        given = problem(where, SPECIAL[name], TYPES[dtype], edits=edits(where, 2)[kind])
        done += compare(backend, given)
    if backend.name in ("reference", "gather"):
        assert done == 9


@pytest.mark.parametrize("size", ["square", "step"])
def test_softcap(backend: Backend, size: str) -> None:
    where = context(*SIZES[size], 4, 2)
    for kind in ("bias", "everything"):
        chosen = edits(where, 2)[kind]
        given = problem(where, SPECIAL["blocks"], edits=chosen, softcap=1.5)
        assert compare(backend, given) or backend.name not in ("reference", "gather")


@pytest.mark.parametrize("name", ["causal", "blocks", "window(32,sink=4)"])
def test_full_pass_is_prefix_pass_is_cached_pass(backend: Backend, name: str) -> None:
    given = replace(problem(context(100, 100, 0, 4, 2), PATTERNS[name]), lse=False)
    full, _ = backend.run(given)
    for at in (0, 1, 15, 16, 63, 64, 99):
        seen = slice(0, at + 1)
        k, v = given.k[:, :, seen], given.v[:, :, seen]
        prefix = replace(
            given, q=given.q[:, :, seen], k=k, v=v, context=context(at + 1, at + 1, 0, 4, 2)
        )
        step = replace(
            given, q=given.q[:, :, at : at + 1], k=k, v=v, context=context(1, at + 1, at, 4, 2)
        )
        for one in (prefix, step):
            out, _ = backend.run(one)
            torch.testing.assert_close(out[:, :, -1], full[:, :, at], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["causal", "full", "blocks", "columns", "shuffled"])
@pytest.mark.parametrize("kind", ["none", "product", "everything"])
def test_gradients_or_a_refusal(backend: Backend, name: str, kind: str) -> None:
    for size in ("square", "chunk", "step"):
        where = context(*SIZES[size], 4, 2)
        plain = problem(where, SPECIAL[name], torch.float64, lse=False)
        if kind != "none":
            plain = replace(plain, edits=edits(where, 2)[kind])
        results = []
        for one in (REFERENCE, backend):
            q, k, v = (x.detach().clone().requires_grad_() for x in (plain.q, plain.k, plain.v))
            given = replace(plain, q=q, k=k, v=v)
            reason = one.verify(given)
            if reason is not None:
                assert len(reason) > 10
                break
            out, _ = one.run(given)
            weights = torch.arange(out.numel()).view(out.shape).double().sin()
            results.append(torch.autograd.grad((out * weights).sum(), (q, k, v)))
        else:
            for got, want in zip(results[1], results[0], strict=True):
                torch.testing.assert_close(got, want, atol=1e-10, rtol=0)


def test_empty_calls(backend: Backend) -> None:
    for m, n in ((0, 5), (5, 0)):
        given = problem(context(m, n, 0, 4, 2), SPECIAL["causal"])
        if backend.verify(given) is not None:
            continue
        out, lse = backend.run(given)
        assert out.shape == (2, 4, m, 16)
        assert lse is not None
        assert lse.shape == (2, 4, m)
        assert not out.any()
        assert (lse == -torch.inf).all()


class _Heavy(TorchDispatchMode):
    """Refuses whatever computes attention."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__
        assert not any(
            word in name for word in ("mm", "softmax", "exp.", "attention", "logsumexp", "tanh")
        ), name
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NAMES)
def test_asking_computes_nothing(name: str) -> None:
    asked = backends()[name]
    where = context(100, 100, 0, 4, 2)
    with _Heavy():
        reason = asked.missing()
        assert reason is None or len(reason) > 10
        for pattern in SPECIAL.values():
            for chosen in edits(where, 2).values():
                said = asked.verify(problem(where, pattern, edits=chosen))
                assert said is None or len(said) > 10


@pytest.mark.parametrize("name", OPTIONAL)
def test_optional_backends_take_part_where_they_are(name: str) -> None:
    reason = backends()[name].missing()
    if reason:
        pytest.skip(f"backend {name}: {reason}")
    assert name in HERE


def test_every_module_with_a_backend_is_found() -> None:
    found = set()
    for module in pkgutil.iter_modules(folder.__path__):
        it = getattr(importlib.import_module(f"{folder.__name__}.{module.name}"), "BACKEND", None)
        if it is not None:
            assert it.name == module.name
            found.add(it.name)
    assert found == set(NAMES)
    assert {"reference", "sdpa", "gather"} <= found


@pytest.mark.parametrize("kind", ["none", "product", "everything"])
def test_auto_is_attention_and_says_whom_it_passed(kind: str) -> None:
    for name in ("causal", "columns"):
        for size in ("square", "step"):
            where = context(*SIZES[size], 4, 2)
            given = problem(where, SPECIAL[name])
            if kind != "none":
                given = replace(given, edits=edits(where, 2)[kind])
            torch.testing.assert_close(
                called(given, "auto").double(), exact(given)[0], atol=5e-6, rtol=0
            )
            choice = explain(given.q, given.k, given.v, pattern=given.pattern, edits=given.edits)
            assert choice.backend.name not in choice.passed
            assert all(len(reason) > 10 for reason in choice.passed.values())


def test_unknown_backend_is_named_with_the_nearest() -> None:
    given = problem(context(4, 4, 0, 4, 4), SPECIAL["causal"], lse=False)
    with pytest.raises(UserError, match=r"backend=gahter: there is none .*gather"):
        called(given, "gahter")

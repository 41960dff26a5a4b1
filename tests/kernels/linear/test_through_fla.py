"""What goes to flash-linear-attention: the mapping, with functions that mean what its do.

The stand-ins have the parameters of 0.6.0 and compute the recurrences of its documentation, so a
wrong layout, sign, scale or state is seen. Its kernels themselves need a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.linear import (
    lightnet,
    lightning_attention,
    lightning_slopes,
    local_linear_attention,
    parallax,
    through_fla,
)

Pair = tuple[Tensor, Tensor | None]


def scan(q: Tensor, k: Tensor, v: Tensor, gate: Tensor, scale: float | None, state, kept) -> Pair:
    """``S = exp(g) S + k v^T``, ``o = scale q S``; all ``[B, T, H, K]``."""
    assert all(x.is_contiguous() for x in (q, k, v))
    assert q.shape == k.shape and q.shape[:3] == v.shape[:3]
    scale = q.shape[3] ** -0.5 if scale is None else scale
    now = torch.zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3]) if state is None else state
    assert now.shape == (q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    assert now.dtype is torch.float32
    outs = []
    for t in range(q.shape[1]):
        new = k[:, t].float()[..., None] * v[:, t].float()[..., None, :]
        now = now * gate[:, t].float().exp()[..., None] + new
        outs.append(scale * (q[:, t].float()[..., None] * now).sum(-2))
    return torch.stack(outs, 1).to(q.dtype), now if kept else None


def simple_gla(
    q, k, v, g=None, g_gamma=None, scale=None, initial_state=None, output_final_state=False
) -> Pair:
    assert g is None and g_gamma.shape == (q.shape[2],)
    gate = g_gamma[None, None, :, None].expand(q.shape)
    return scan(q, k, v, gate, scale, initial_state, output_final_state)


def chunk_gla(q, k, v, g, scale=None, initial_state=None, output_final_state=False) -> Pair:
    assert g.shape == k.shape and bool((g <= 0).all())
    return scan(q, k, v, g, scale, initial_state, output_final_state)


def fused_recurrent_gla(
    q, k, v, gk=None, gv=None, scale=None, initial_state=None, output_final_state=False
) -> Pair:
    assert gv is None
    return chunk_gla(q, k, v, gk, scale, initial_state, output_final_state)


def parallel_parallax(q, r, k, v, scale=None, window_size=None) -> Tensor:
    heads = (x.transpose(1, 2) for x in (q, r, k, v))
    out = parallax(*heads, scale=scale, window=window_size, form="naive")
    return out.transpose(1, 2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Install the stand-ins, let them serve tensors on the processor, and list what is called."""
    seen: list[str] = []

    def counted(name, run):
        def wrapper(**arguments):
            seen.append(name)
            return run(**arguments)

        return wrapper

    functions = {
        "simple_gla": {
            "chunk_simple_gla": simple_gla,
            "fused_recurrent_simple_gla": simple_gla,
        },
        "gla": {"chunk_gla": chunk_gla, "fused_recurrent_gla": fused_recurrent_gla},
        "parallax": {"parallel_parallax": parallel_parallax},
    }
    for name in ("fla", "fla.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for module, members in functions.items():
        made = ModuleType(f"fla.ops.{module}")
        for name, run in members.items():
            setattr(made, name, counted(name, run))
        monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(through_fla, "missing", lambda: None)
    monkeypatch.setattr(through_fla, "_NOT_ON", ())
    yield seen


def tensors(length: int, dtype: torch.dtype = torch.float32, wide: int = 5) -> list[Tensor]:
    draw = torch.Generator().manual_seed(length)
    shapes = ((2, 4, length, 6), (2, 2, length, 6), (2, 2, length, wide))
    return [torch.randn(shape, generator=draw).to(dtype) for shape in shapes]


@pytest.mark.parametrize("slopes", [None, lightning_slopes(2), lightning_slopes(4)])
@pytest.mark.parametrize(
    ("length", "name"), [(9, "fused_recurrent_simple_gla"), (70, "chunk_simple_gla")]
)
def test_lightning(calls: list[str], slopes: Tensor | None, length: int, name: str) -> None:
    q, k, v = tensors(length)
    state = None
    for _ in range(2):  # the second call carries on
        want, kept = lightning_attention(
            q, k, v, slopes, scale=0.3, state=state, return_state=True, backend="torch"
        )
        out, state = lightning_attention(
            q, k, v, slopes, scale=0.3, state=state, return_state=True, backend="fla"
        )
        torch.testing.assert_close(out, want, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(state, kept, atol=1e-4, rtol=1e-4)
    assert calls == [name, name]


@pytest.mark.parametrize(("length", "name"), [(9, "fused_recurrent_gla"), (70, "chunk_gla")])
def test_lightnet(calls: list[str], length: int, name: str) -> None:
    q, k, v = tensors(length)
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[0, :4] = False
    state = None
    for _ in range(2):
        want, kept = lightnet(
            q, k, v, mask=mask, state=state, scale=0.3, return_state=True, backend="torch"
        )
        out, state = lightnet(
            q, k, v, mask=mask, state=state, scale=0.3, return_state=True, backend="fla"
        )
        torch.testing.assert_close(out, want, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(state.memory, kept.memory, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(state.z, kept.z, atol=1e-5, rtol=1e-5)
    assert calls == [name, name]


@pytest.mark.parametrize("window", [None, 7])
def test_parallax(calls: list[str], window: int | None) -> None:
    q, k, v = tensors(30, torch.bfloat16, wide=6)
    r = q.flip(2)
    out = parallax(q, r, k, v, scale=0.3, window=window)
    want = parallax(q, r, k, v, scale=0.3, window=window, backend="torch")
    torch.testing.assert_close(out, want, atol=2e-2, rtol=2e-2)
    assert calls == ["parallel_parallax"]


def test_auto_takes_half_precision_only(calls: list[str]) -> None:
    lightning_attention(*tensors(9))
    assert calls == []
    lightning_attention(*tensors(9, torch.bfloat16))
    assert calls == ["fused_recurrent_simple_gla"]
    lightning_attention(*tensors(9, torch.bfloat16), form="recurrent")
    lightnet(*tensors(9, torch.bfloat16), causal=False)
    assert len(calls) == 1


def test_what_cannot_be_served_says_why(calls: list[str]) -> None:
    q, k, v = tensors(9)
    half = [x.bfloat16() for x in (q, k, v)]
    for call, match in (
        (lambda: lightning_attention(q.double(), k.double(), v.double(), backend="fla"), "float64"),
        (lambda: lightning_attention(q, k, v, backend="fla", form="naive"), "form=naive"),
        (lambda: parallax(q, q, k, v, backend="fla"), "float32"),
        (lambda: parallax(half[0], half[0], *half[1:], backend="fla"), "as wide as keys"),
        (lambda: parallax(half[0], half[0], *half[1:], backend="fla", causal=False), "causal"),
        (lambda: lightnet(q, k, v, backend="fla", causal=False), "causal"),
    ):
        with pytest.raises(UserError, match=match):
            call()
    assert calls == []


def test_on_a_processor_it_is_not_taken() -> None:
    q, k, v = tensors(9)
    with pytest.raises(UserError, match="backend=fla: its kernels do not run on cpu"):
        lightning_attention(q, k, v, backend="fla")
    with pytest.raises(UserError, match="backend=flash is none of auto, torch, fla"):
        lightnet(q, k, v, backend="flash")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        local_linear_attention(q, k, v, ridge=1.0, backend="fla")  # type: ignore[call-overload]


def test_an_older_package_says_which_is_needed(calls: list[str]) -> None:
    del sys.modules["fla.ops.simple_gla"].chunk_simple_gla  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"has no chunk_simple_gla; install 0\.6\.0"):
        lightning_attention(*tensors(70), backend="fla")

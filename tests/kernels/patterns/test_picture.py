"""Pictures: shares of pairs by hand, and files that are there."""

from __future__ import annotations

import builtins

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns import S2, Causal, Context, Region, SlidingWindow
from lmms_causal.kernels.patterns.picture import density_map, picture_text, save_picture
from lmms_causal.kernels.patterns.tiles import pairs


def test_text() -> None:
    assert picture_text(SlidingWindow(2), Context(6, 6), size=3).splitlines() == [
        "▒▒····",
        "▒▒▒▒··",
        "··▒▒▒▒",
    ]
    assert picture_text(Causal(), Context(2, 4), size=4).splitlines() == ["██████··", "████████"]
    context = Context(16, 16, heads=4, kv_heads=4)
    last = [picture_text(S2(2, 2, 4), context, 8, head).splitlines()[-1] for head in range(4)]
    assert last == [
        "██······██··██▒▒",
        "······██····██▒▒",
        "····██······██▒▒",
        "··██······████▒▒",
    ]


@pytest.mark.parametrize("size", [1, 7, 30, 100])
def test_shares_add_up(size, monkeypatch) -> None:
    """Cells at the ends are smaller, and rows are looked at in pieces."""
    monkeypatch.setattr("lmms_causal.kernels.patterns.picture._PAIRS", 100)
    context = Context(40, 53, heads=2, kv_heads=2)
    pattern = S2(4, 2, 3)
    cells = density_map(pattern, context, size).double()
    cell = -(-53 // size)
    tall = torch.tensor([min(cell, 40 - at) for at in range(0, 40, cell)])
    wide = torch.tensor([min(cell, 53 - at) for at in range(0, 53, cell)])
    total = (cells * tall[:, None] * wide).sum()
    assert float(total) == pytest.approx(pairs(pattern, context), rel=1e-6)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_files(tmp_path, ending) -> None:
    path = tmp_path / f"s2.{ending}"
    context = Context(64, 64, heads=4, kv_heads=4, regions=(Region("image", 3, 19, (4, 4)),))
    save_picture(S2(4, 2, 4), context, path, size=32)
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


def test_without_matplotlib(tmp_path, monkeypatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="pip install matplotlib"):
        save_picture(Causal(), Context(4, 4), tmp_path / "x.png")
    with pytest.raises(UserError, match="head=2 of 2"):
        picture_text(Causal(), Context(4, 4, heads=2), head=2)

"""Lets the tests of this folder import the cases they share, also with those of the backends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lmms_causal.kernels.backends import cpu
from lmms_causal.kernels.native.loading import Library, library, missing

for _folder in (Path(__file__).parent, Path(__file__).parents[1] / "backends"):
    sys.path.insert(0, str(_folder))


@pytest.fixture(scope="session")
def own() -> Library:
    """The library of this machine's level."""
    found = library()
    if found is None:
        pytest.skip(f"no compiled kernels here: {missing()}")
    return found


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads for torch, and so for the kernels."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _unwritten_memory_is_nan(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.set_deterministic_debug_mode("warn")
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch):
    """``use(library)``: the backend runs this one."""

    def choose(one: Library) -> None:
        monkeypatch.setattr(cpu, "_library", lambda: one)

    return choose

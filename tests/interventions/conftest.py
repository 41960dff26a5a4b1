"""Tiny models, built once a run, and the check that no test leaves an intervention behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch

from lmms_causal.testing import build, family

_Built = Callable[[str], tuple[Any, Any]]


@cache
def _build(name: str) -> tuple[Any, Any]:
    model, processor = build(name)
    model.generation_config.eos_token_id = None  # every answer has max_new_tokens tokens
    return model, processor


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> Iterator[_Built]:
    """Return ``tiny(name) -> (model, processor)``; afterwards the models must be untouched."""
    used: dict[str, Any] = {}

    def get(name: str) -> tuple[Any, Any]:
        if missing := family(name).missing():
            pytest.skip(f"the processor of {name} needs {', '.join(missing)}")
        used[name] = _build(name)
        return used[name]

    yield get
    for name, (model, _) in used.items():
        assert not {"forward", "generate"} & model.__dict__.keys(), f"{name} is left modified"

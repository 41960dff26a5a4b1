"""Tiny models, built once a run, and the check that no test leaves an intervention behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from lmms_causal.testing import build

_Built = Callable[[str], tuple[Any, Any]]


@cache
def _build(name: str) -> tuple[Any, Any]:
    model, processor = build(name)
    model.generation_config.eos_token_id = None  # every answer has max_new_tokens tokens
    return model, processor


@pytest.fixture
def tiny(available: Callable[[str], str]) -> Iterator[_Built]:
    """Return ``tiny(name) -> (model, processor)``; afterwards the models must be untouched."""
    used: dict[str, Any] = {}

    def get(name: str) -> tuple[Any, Any]:
        used[name] = _build(available(name))
        return used[name]

    yield get
    for name, (model, _) in used.items():
        assert not {"forward", "generate"} & model.__dict__.keys(), f"{name} is left modified"

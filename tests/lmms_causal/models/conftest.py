"""Runners over tiny random models, and requests as the two harnesses hand them over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from lmms_causal.interventions import parse
from lmms_causal.models.loading import pad_left
from lmms_causal.models.prompts import Encoder, Prompt
from lmms_causal.models.runner import Runner
from lmms_causal.testing import build, picture


@cache
def _built(name: str) -> tuple[Any, Encoder]:
    model, processor = build(name)
    tokenizer = getattr(processor, "tokenizer", processor)
    pad_left(tokenizer)
    return model, Encoder(tokenizer, None if tokenizer is processor else processor)


@pytest.fixture
def runner(available: Callable[[str], str]) -> Iterator[Callable[..., Runner]]:
    """``runner(family, spec, batch_size)``; afterwards the models must be as they were."""
    made: list[Runner] = []

    def make(name: str, spec: str | None = None, batch_size: int = 1) -> Runner:
        model, encoder = _built(available(name))
        made.append(Runner(model, encoder, parse(spec).plan(), batch_size=batch_size, quiet=True))
        return made[-1]

    yield make
    for runner in made:
        runner.close()
        assert not {"forward", "generate"} & runner.model.__dict__.keys()


@pytest.fixture
def ask() -> Callable[..., Prompt]:
    """``ask(encoder, text, images, key)``: one user turn, rendered."""

    def render(encoder: Encoder, text: str, images: int = 1, key: str = "task/0/0") -> Prompt:
        shown = [{"type": "image", "image": picture(7 + n)} for n in range(images)]
        if encoder.processor is None:
            shown = []
        content = [*shown, {"type": "text", "text": text}]
        return encoder.render([{"role": "user", "content": content}], key)

    return render

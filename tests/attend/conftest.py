"""Tiny models as subjects of analysis."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from lmms_causal.attend.documents import Document
from lmms_causal.attend.subject import Subject
from lmms_causal.models.loading import pad_left
from lmms_causal.models.prompts import Encoder
from lmms_causal.testing import build, family, picture

QUESTION = "Is there a red ball in the image? The answer is in the box. Why?"
ANSWER = (
    "It is red. The wind is the cause. Did it fall? No, the cup is open. The boy was there. "
    "He read it again. The ball is in the box. So the answer is B. Yes. It was described before. "
    "Is it a cup? The image describes it."
)


@cache
def _built(name: str) -> tuple[Any, Encoder]:
    model, processor = build(name)
    tokenizer = getattr(processor, "tokenizer", processor)
    pad_left(tokenizer)
    return model, Encoder(tokenizer, None if tokenizer is processor else processor)


@pytest.fixture
def subject(available: Callable[[str], str]) -> Callable[..., Subject]:
    """``subject(family, spec)``: a tiny random model under interventions."""

    def get(name: str, spec: str = "none") -> Subject:
        model, encoder = _built(available(name))
        return Subject.of(model, encoder, spec, name)

    return get


@pytest.fixture(scope="session")
def answer() -> str:
    """Twelve sentences."""
    return ANSWER


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Document]:
    """``asked(family)``: a document for it, with a picture if it sees."""
    file = tmp_path_factory.mktemp("pictures") / "scene.png"
    picture(3, 60, 44).save(file)

    def get(name: str, **given: Any) -> Document:
        images = (str(file),) if family(name).kind == "vision" else ()
        return Document(**{"id": "one", "prompt": QUESTION, "images": images, **given})

    return get

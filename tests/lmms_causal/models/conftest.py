"""Runners over tiny random models, prompts, and two toy methods that tests register."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
from PIL import ImageOps

from lmms_causal.interventions import Branch, Increment, Plan, parse, registry
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
    for runner in made:
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


@dataclass
class Toys:
    """Two methods, ``described`` and ``mirrored``, and what they were asked about.

    Attributes:
        prepared: keys of the questions that ``described`` has prepared.
        viewed: keys and words of the questions that ``mirrored`` was shown.
        view: pictures to those that ``mirrored`` shows.
    """

    DESCRIBE = "Say in one word what you see."
    TOKENS = 3

    prepared: list[str] = field(default_factory=list)
    viewed: list[tuple[str, str]] = field(default_factory=list)
    view: Callable[[Any], Any] = lambda images: tuple(map(ImageOps.mirror, images))

    @staticmethod
    def with_reply(reply: str, text: str) -> str:
        """The question that ``described`` asks."""
        return f"Seen: {reply!a}. {text}"

    def methods(self) -> tuple[type, ...]:
        """The two classes."""
        toys = self

        @dataclass(frozen=True)
        class Described:
            """Ask for a description, write it before the question, show pictures several times."""

            times: int = 1

            def plan(self) -> Plan:
                return Plan(preparations=(self.prepare,))

            def prepare(self, question, assistant):
                toys.prepared.append(question.key)
                reply = assistant.ask(replace(question, text=toys.DESCRIBE), toys.TOKENS)
                text = toys.with_reply(reply, question.text)
                return replace(question, text=text, images=question.images * self.times)

        @dataclass(frozen=True)
        class Mirrored:
            """Contrast with mirrored pictures: ``(1 + alpha) l - alpha c``."""

            alpha: float = 1.0

            def plan(self) -> Plan:
                branch = Branch("mirrored", view=self.view, without_image="skip")
                increment = Increment("mirrored", self.increment, branches=("mirrored",))
                return Plan(branches=(branch,), increments=(increment,))

            def view(self, question):
                toys.viewed.append((question.key, question.text))
                return toys.view(question.images)

            def increment(self, signals):
                return self.alpha * (signals.factual - signals.branches["mirrored"])

        return Described, Mirrored


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Toys:
    """Register the toy methods for the time of a test."""
    made = Toys()
    for cls in made.methods():
        name = cls.__name__.lower()
        monkeypatch.setattr(cls, "__module__", name)  # a method is named after its file
        monkeypatch.setitem(registry._registered, name, cls)
    return made

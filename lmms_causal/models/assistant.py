"""The loaded model as preparations use it: asked greedily in a prompt's place, and counted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.question import Question
from lmms_causal.models.cost import Cost
from lmms_causal.models.generation import Settings, generate
from lmms_causal.models.prompts import Encoder
from lmms_causal.models.questions import with_question
from lmms_causal.models.turns import Prompt

__all__ = ["PromptAssistant", "metered"]

Encode = Callable[[Sequence[Prompt], int], dict[str, Any]]
"""Prompts, and the room to leave for new tokens, to model inputs on the model's device."""


class PromptAssistant:
    """Asks the model in a prompt's place: its system prompt and earlier turns come with a question.

    Attributes:
        adapter: the model's parts.
    """

    def __init__(
        self, adapter: ModelAdapter, encoder: Encoder, encode: Encode, prompt: Prompt
    ) -> None:
        self.adapter = adapter
        self._encoder = encoder
        self._encode = encode
        self._prompt = prompt

    def ask(self, question: Question, max_new_tokens: int) -> str:
        """Return the model's greedy answer."""
        asked = with_question(self._encoder, self._prompt, question)
        (answer,), _ = generate(
            self.adapter.model,
            self._encoder.tokenizer,
            self._encode([asked], max_new_tokens),
            Settings(max_new_tokens=max_new_tokens),
            [question.key],
        )
        return answer.text

    def encode(self, question: Question) -> dict[str, Any]:
        """Return the model inputs of the prompt with this question, a batch of one."""
        return self._encode([with_question(self._encoder, self._prompt, question)], 0)


@contextmanager
def metered(model: Any, cost: Cost) -> Iterator[None]:
    """Count everything that is done with a model in the block, however it is called.

    Args:
        model: the transformers model that runs.
        cost: gets the rows of every forward pass, the tokens of every prompt that is read, and
            the tokens of every answer of ``generate``.
    """
    own = model.__dict__.get("generate")
    original = model.generate
    generating = False

    def before_pass(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = _first_given(*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
        cost.forward_passes += given.shape[0]
        if not generating:
            cost.prompt_tokens += _tokens(given, kwargs.get("attention_mask"))

    @functools.wraps(original)
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal generating
        given = _first_given(*args[:1], kwargs.get("input_ids"), kwargs.get("inputs"))
        generating = True
        try:
            output = original(*args, **kwargs)
        finally:
            generating = False
        answers = output if isinstance(output, Tensor) else output.sequences
        cost.prompt_tokens += _tokens(given, kwargs.get("attention_mask"))
        cost.generated_tokens += answers[:, given.shape[1] :].numel()
        return output

    hook = model.register_forward_pre_hook(before_pass, with_kwargs=True)
    model.generate = counted
    try:
        yield
    finally:
        hook.remove()
        if own is None:
            del model.generate
        else:
            model.generate = own


def _first_given(*values: Tensor | None) -> Tensor:
    return next(value for value in values if value is not None)


def _tokens(given: Tensor, mask: Tensor | None) -> int:
    """Tokens of a batch ``[B, L]`` or ``[B, L, D]``, padding excluded."""
    return given.shape[0] * given.shape[1] if mask is None else int(mask.sum())

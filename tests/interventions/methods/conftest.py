"""What the tests of methods share: every pass of a method recomputed with the stock model."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from lmms_causal.interventions import apply
from lmms_causal.testing import Prompt, encode, family, picture

STEPS = 4
TOKEN_INPUTS = ("attention_mask", "token_type_ids", "mm_token_type_ids")
PICTURE_TOKENS = {
    "<image>",
    "<|image_pad|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<image_soft_token>",
    "<start_of_image>",
    "<end_of_image>",
}

Expected = Callable[[Tensor, "dict[str, Any]", "list[int]"], Tensor]
"""Factual logits ``[V]``, a prompt's inputs, the answer so far: the logits ``[V]`` to be found."""


@dataclass(frozen=True)
class Runs:
    """One tiny model and three prompts of different lengths for it."""

    model: Any
    processor: Any
    prompts: list[Prompt]

    @property
    def tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)

    def inputs(self, *prompts: Prompt) -> dict[str, Any]:
        return dict(encode(self.processor, list(prompts or self.prompts)))

    @staticmethod
    def appended(inputs: Mapping[str, Any], answers: list[list[int]]) -> dict[str, Any]:
        """The inputs of some prompts with the tokens of an answer behind each."""
        longer = dict(inputs)
        added = torch.tensor(answers)
        if added.numel():
            longer["input_ids"] = torch.cat([inputs["input_ids"], added], dim=1)
            for name in TOKEN_INPUTS:
                if name in inputs:
                    column = torch.full_like(added, int(name == "attention_mask"))
                    longer[name] = torch.cat([inputs[name], column], dim=1)
        return longer

    @torch.no_grad()
    def last(self, inputs: Mapping[str, Any], tokens: list[int]) -> Tensor:
        """Logits ``[V]`` after the answer so far: one forward pass of the stock model, no cache."""
        return self.model(**self.appended(inputs, [tokens]), use_cache=False).logits[0, -1].float()

    def without_pictures(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The same words, as a prompt that never had a picture."""
        texts = self.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
        stays = torch.tensor([text not in PICTURE_TOKENS for text in texts])
        return {"input_ids": inputs["input_ids"][:, stays]}

    def generate(self, inputs: Mapping[str, Any], **arguments: Any) -> Tensor:
        settings = {"max_new_tokens": STEPS, "do_sample": False, **arguments}
        torch.manual_seed(5)
        answer = self.model.generate(**inputs, **settings)
        return answer[:, inputs["input_ids"].shape[1] :]

    def follows(self, spec: str, expected: Expected) -> None:
        """Generation and scoring of every prompt have the logits that the formula gives."""
        answers, formula = [], []
        with apply(self.model, spec, self.processor):
            for prompt in self.prompts:
                output = self.model.generate(
                    **self.inputs(prompt),
                    max_new_tokens=STEPS,
                    do_sample=False,
                    return_dict_in_generate=True,
                    output_logits=True,
                )
                answers.append((output.sequences[0, -STEPS:].tolist(), torch.cat(output.logits)))
        for prompt, (tokens, logits) in zip(self.prompts, answers, strict=True):
            inputs = self.inputs(prompt)
            wanted = [
                expected(self.last(inputs, tokens[:step]), inputs, tokens[:step])
                for step in range(STEPS)
            ]
            formula.append(torch.stack(wanted))
            assert formula[-1].argmax(dim=-1).tolist() == tokens
            same_distribution(logits, formula[-1])
        self._scores(spec, [tokens for tokens, _ in answers], formula)

    def _scores(self, spec: str, answers: list[list[int]], formula: list[Tensor]) -> None:
        """The answers, scored as one batch in which rows differ in length."""
        batch = self.inputs()
        length = batch["input_ids"].shape[1]
        longer = self.appended(batch, answers)
        with (
            torch.no_grad(),
            apply(self.model, spec, self.processor) as handle,
            handle.request(prompt_length=length),
        ):
            scored = self.model(**longer).logits[:, length - 1 : -1]
        assert scored.isfinite().all()
        for found, wanted in zip(scored, formula, strict=True):
            kept = wanted.isfinite()
            same_distribution(found.masked_fill(~kept, -torch.inf), wanted)

    def agrees(self, spec: str) -> None:
        """Cached and not, side by side and one by one, alone and in a batch: the same tokens."""
        batch = self.inputs()
        assert (batch["attention_mask"] == 0).any(), "the rows must differ in length"
        plain = self.generate(batch)
        with apply(self.model, spec, self.processor):
            together = self.generate(batch)
            assert torch.equal(self.generate(batch, use_cache=False), together)
            beams = self.generate(batch, num_beams=2)
            assert torch.equal(self.generate(batch, num_beams=2, use_cache=False), beams)
            for row, prompt in enumerate(self.prompts):
                assert torch.equal(self.generate(self.inputs(prompt))[0], together[row])
        with apply(self.model, spec, self.processor, execution="paired"):
            assert torch.equal(self.generate(batch), together)
        assert not torch.equal(together, plain), "the example must be one that the method changes"
        assert torch.equal(self.generate(batch), plain)

    def is_untouched_by(self, *specs: str) -> None:
        """Neutral settings: nothing installed, every logit bit for bit the stock model's."""
        batch = self.inputs()
        with torch.no_grad():
            plain, answer = self.model(**batch).logits, self.generate(batch, do_sample=True)
            for spec in specs:
                with apply(self.model, spec):
                    assert "forward" not in self.model.__dict__
                    assert torch.equal(self.model(**batch).logits, plain)
                    assert torch.equal(self.generate(batch, do_sample=True), answer)


def same_distribution(found: Tensor, wanted: Tensor) -> None:
    """Two logits ``[..., V]`` are equal up to a constant, and exclude the same tokens."""
    assert torch.equal(found.isfinite(), wanted.isfinite())
    found, wanted = (x.log_softmax(dim=-1).masked_fill(~x.isfinite(), 0.0) for x in (found, wanted))
    torch.testing.assert_close(found, wanted, atol=3e-4, rtol=1e-4)


@pytest.fixture
def runs(tiny: Callable[[str], tuple[Any, Any]]) -> Callable[[str], Runs]:
    """``runs(name, model=None)``: the tiny model of a family, or one like it, with prompts.

    They show pictures if the family sees.
    """

    def get(name: str, model: Any = None) -> Runs:
        built, processor = tiny(name)
        model = built if model is None else model
        sees = family(name).kind == "vision"
        pictures = [(picture(1),), (picture(2, 30, 30), picture(3, 40, 64)), (picture(4, 64, 30),)]
        texts = ("Is it red?", "Which of the two was first, and why?", "Why?")
        shown = zip(texts, pictures, strict=True)
        return Runs(model, processor, [Prompt(t, p if sees else ()) for t, p in shown])

    return get


Change = Callable[[int, Tensor, Tensor], "tuple[Tensor, Tensor]"]
"""Layer, scores ``[1, H, q, n]`` and what may be seen ``[1, 1, q, n]``, to both as changed."""


@contextmanager
def _rewritten(model: Any, change: Change) -> Iterator[Any]:
    """A copy whose decoder attends in plain softmax attention, with scores and mask changed."""
    copied = copy.deepcopy(model)
    copied.set_attn_implementation("eager")
    modules = [layer.self_attn for layer in copied.get_decoder().layers]
    file = sys.modules[type(modules[0]).__module__]
    original = file.eager_attention_forward  # type: ignore[attr-defined]

    def attention(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any
    ):
        if not any(module is it for it in modules):
            return original(module, query, key, value, attention_mask, **kwargs)
        groups = query.shape[1] // key.shape[1]
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
        scores = (query @ key.mT).double() * kwargs["scaling"]
        scores, seen = change(modules.index(module), scores, attention_mask > -1e30)
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1).to(value.dtype)
        return (weights @ value).transpose(1, 2), weights

    try:
        file.eager_attention_forward = attention  # type: ignore[attr-defined]
        yield copied
    finally:
        file.eager_attention_forward = original  # type: ignore[attr-defined]


@pytest.fixture
def rewritten() -> Callable[[Any, Change], AbstractContextManager[Any]]:
    """``with rewritten(model, change) as copied``: see :data:`Change`. No cache, one prompt."""
    return _rewritten

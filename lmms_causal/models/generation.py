"""Decode a batch of prompts with a transformers model: stop texts and seeded sampling."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lmms_causal.errors import UserError
from lmms_causal.interventions.engine.selection import InverseTransformDraw

__all__ = ["Generation", "Settings", "generate"]

_LENGTHS = ("max_new_tokens", "max_gen_toks", "max_tokens", "max_completion_tokens")
_DEFAULT_MAX_NEW_TOKENS = 256
_OURS = frozenset(
    {
        "eos_token_id",
        "max_length",
        "num_return_sequences",
        "output_scores",
        "pad_token_id",
        "return_dict_in_generate",
        "stop_strings",
    }
)
_SAMPLING = ("do_sample", "temperature", "top_p", "top_k", "min_p")


@dataclass(frozen=True)
class Settings:
    """The generation arguments of a task, understood once for both harnesses.

    Attributes:
        max_new_tokens: upper bound of the answer's length.
        until: texts that end the answer; they and what follows are cut off.
        temperature: 0 decodes greedily.
        top_p, top_k, min_p: restrictions of sampling; None for none.
        seed: the global seed that, with a document's key, seeds its draws.
        options: further arguments of ``generate`` (``num_beams``, ``repetition_penalty`` ...).
    """

    max_new_tokens: int = _DEFAULT_MAX_NEW_TOKENS
    until: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @classmethod
    def from_task(
        cls, arguments: Mapping[str, Any], seed: int = 0, length: str = "max_new_tokens"
    ) -> Settings:
        """Read a task's ``generation_kwargs``.

        ``do_sample: false`` and a temperature of 0 both mean greedy; sampling without a temperature
        is at 1. What neither the harness nor ``generate`` knows (some tasks carry arguments for one
        particular wrapper) is listed in ``ignored``, and so is a length under a second name that
        disagrees: the harness's own, ``length``, goes before those of other APIs.

        Raises:
            UserError: sampling together with beams; a length or temperature out of range; what is
                decided by the harness or by us.
        """
        given = dict(arguments)
        until = given.pop("until", None) or ()
        names = sorted(_LENGTHS, key=lambda name: name != length)
        lengths = {name: given.pop(name) for name in names if given.get(name) is not None}
        longest = next(iter(lengths.values()), _DEFAULT_MAX_NEW_TOKENS)
        outranked = [name for name, value in lengths.items() if value != longest]
        sampling = {name: given.pop(name, None) for name in _SAMPLING}
        temperature = sampling["temperature"]
        if sampling["do_sample"] is False:
            temperature = 0.0
        elif temperature is None:
            temperature = 1.0 if sampling["do_sample"] else 0.0
        options = {k: v for k, v in given.items() if k in _known() and v is not None}
        if int(longest) < 1 or float(temperature) < 0:
            raise UserError(
                f"generation_kwargs: {longest} new tokens at temperature {temperature}: there must "
                "be one token or more, and a temperature of 0 or more"
            )
        if taken := sorted(_OURS & options.keys()):
            raise UserError(
                f"generation_kwargs: {taken[0]}={options[taken[0]]} cannot be set; stop texts go "
                "into until, the length into max_new_tokens, repetitions into the task's repeats"
            )
        if float(temperature) > 0 and options.get("num_beams", 1) > 1:
            raise UserError(
                "generation_kwargs ask for sampling and num_beams; use one, e.g. do_sample=False"
            )
        return cls(
            max_new_tokens=int(longest),
            until=(until,) if isinstance(until, str) else tuple(text for text in until if text),
            temperature=float(temperature),
            top_p=sampling["top_p"],
            top_k=sampling["top_k"],
            min_p=sampling["min_p"],
            seed=seed,
            options=options,
            ignored=tuple(sorted([*outranked, *(k for k in given if k not in _known())])),
        )


@cache
def _known() -> frozenset[str]:
    """The arguments that ``generate`` takes."""
    return frozenset(GenerationConfig().to_dict())


@dataclass(frozen=True)
class Generation:
    """One answer: its text, cut at the stop text, and the tokens read and written for it."""

    text: str
    prompt_tokens: int
    generated_tokens: int


def generate(
    model: Any,
    tokenizer: Any,
    inputs: Mapping[str, Any],
    settings: Settings,
    keys: Sequence[str],
) -> tuple[list[Generation], int]:
    """Decode a left-padded batch; return the answers and the number of decoding steps.

    Args:
        inputs: ``input_ids [B, L]``, ``attention_mask [B, L]`` and media on the model's device.
        keys: identity of each row's document; with ``settings.seed`` it seeds the row's sampling,
            so that draws depend neither on the batch nor on the order of documents.
    """
    length = inputs["input_ids"].shape[1]
    ends = _end_tokens(model, tokenizer, settings.until)
    output = model.generate(
        **inputs,
        max_new_tokens=settings.max_new_tokens,
        do_sample=False,  # sampling is the last logits processor, one seeded draw a row
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends or None,
        logits_processor=_sampling(settings, keys),
        stopping_criteria=StoppingCriteriaList(
            [StopTexts(tokenizer, settings.until, length)] if settings.until else []
        ),
        return_dict_in_generate=False,
        **settings.options,
    )
    answers = output[:, length:]
    read = inputs["attention_mask"].sum(dim=1).tolist()
    generations = []
    for row, prompt_tokens in zip(answers.tolist(), read, strict=True):
        count = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
        count = _stopped_at(tokenizer, row[:count], settings.until)
        text = tokenizer.decode(row[:count], skip_special_tokens=True)
        for stop in settings.until:
            text = text.split(stop)[0]
        generations.append(Generation(text, int(prompt_tokens), count))
    return generations, answers.shape[1]


def _end_tokens(model: Any, tokenizer: Any, until: Sequence[str]) -> list[int]:
    """All tokens that end an answer: the generation config's, the tokenizer's, and special stops.

    A stop text that is a special token, such as ``<|im_end|>``, never stands in a decoded answer.
    """
    configured = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id}
    ends.update(configured if isinstance(configured, (list, tuple)) else [configured])
    ends.update(
        token
        for token, text in tokenizer.added_tokens_decoder.items()
        if text.special and str(text) in until
    )
    return sorted(token for token in ends if token is not None)


def _stopped_at(tokenizer: Any, row: Sequence[int], until: Sequence[str]) -> int:
    """How many tokens it took to complete a stop text; in a batch, padding follows them."""

    def stopped(count: int) -> bool:
        text = tokenizer.decode(row[:count], skip_special_tokens=True)
        return any(stop in text for stop in until)

    return min(bisect.bisect_left(range(len(row)), True, key=stopped), len(row))


def _sampling(settings: Settings, keys: Sequence[str]) -> LogitsProcessorList:
    """The warpers in transformers' order, then the draw; nothing for greedy decoding."""
    if settings.temperature == 0:
        return LogitsProcessorList()
    processors: list[LogitsProcessor] = []
    if settings.temperature != 1:
        processors.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k:
        processors.append(TopKLogitsWarper(int(settings.top_k)))
    if settings.top_p is not None and settings.top_p < 1:
        processors.append(TopPLogitsWarper(float(settings.top_p)))
    if settings.min_p:
        processors.append(MinPLogitsWarper(float(settings.min_p)))
    return LogitsProcessorList([*processors, seeded_draw(settings.seed, keys)])


def seeded_draw(seed: int, keys: Sequence[str]) -> InverseTransformDraw:
    """Return a draw for each row that depends on the seed and the row's document only."""
    return InverseTransformDraw(
        [torch.Generator().manual_seed(_seed_of(f"{seed}/{key}")) for key in keys]
    )


class StopTexts(StoppingCriteria):
    """End a row once one of the texts stands in its answer."""

    _MARGIN = 8  # tokens decoded beyond the longest stop text, for texts that begin inside a token

    def __init__(self, tokenizer: Any, texts: Sequence[str], prompt_length: int) -> None:
        self._tokenizer = tokenizer
        self._texts = tuple(texts)
        self._prompt_length = prompt_length
        self._window = max(len(text.encode()) for text in texts) + self._MARGIN

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """Return which rows ``[B]`` are done."""
        start = max(self._prompt_length, input_ids.shape[1] - self._window)
        tails = self._tokenizer.batch_decode(input_ids[:, start:], skip_special_tokens=True)
        done = [any(text in tail for text in self._texts) for tail in tails]
        return torch.tensor(done, device=input_ids.device)


def _seed_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")

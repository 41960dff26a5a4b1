"""One loaded model with its intervention: many prompts in, answers or scores out, costs counted."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from tqdm import tqdm

from lmms_causal.interventions import Handle, Plan, apply
from lmms_causal.models import generation, scoring
from lmms_causal.models.batches import Batch, encoded
from lmms_causal.models.checking import CheckedPrompts
from lmms_causal.models.cost import Cost
from lmms_causal.models.generation import Generation, Settings
from lmms_causal.models.preparing import Views, prepared
from lmms_causal.models.prompts import Encoder, to_device
from lmms_causal.models.scoring import Score
from lmms_causal.models.turns import Outline, Prompt

__all__ = ["Runner"]

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item", covariant=True)

_DOCUMENTS = 8  # batches of documents whose preparations and views are held at a time


class _ByIndex(Protocol[_Item]):
    """A list, or a mapping with some of its indices."""

    def __getitem__(self, index: int, /) -> _Item: ...


class Runner:
    """Runs prompts through a model in batches; what both harnesses' skins stand on.

    Attributes:
        model: the transformers model, with the intervention installed on it.
        encoder: renders and tokenises.
        cost: running totals.
        batch_size: rows in one forward pass.
    """

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        plan: Plan,
        *,
        batch_size: int = 1,
        quiet: bool = False,
        max_length: int | None = None,
    ) -> None:
        """Put the plan on the model.

        Args:
            max_length: bound of a prompt and its answer in tokens; the model's positions if None.
        """
        self.model = model
        self.encoder = encoder
        self.cost = Cost()
        self._handle: Handle = apply(model, plan, encoder.processor or encoder.tokenizer)
        self._views = Views(plan.branches, encoder)
        self.batch_size = batch_size
        self._max_length = max_length
        self._quiet = quiet

    def close(self) -> None:
        """Remove the intervention from the model."""
        self._handle.remove()

    def paused(self) -> AbstractContextManager[None]:
        """The model without the intervention, for the time of the block."""
        return self._handle.paused()

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Prompt],
        settings: Sequence[Settings],
        done: Callable[[int, Generation], None] | None = None,
    ) -> list[Generation]:
        """Answer every prompt with its settings; ``done(index, answer)`` as answers come in."""
        for names in {setting.ignored for setting in settings if setting.ignored}:
            logger.warning("generation arguments without a meaning here: %s", ", ".join(names))
        answers: dict[int, Generation] = {}
        with self._bar(len(prompts), "Generating") as bar:
            for part, shown, outlines in self._parts(prompts):
                groups = {i: (repr(settings[i]), outlines[i].media) for i in part}
                lengths = {i: len(outlines[i].text) for i in part}
                for batch in self._batches(groups, lengths, bar):
                    produced = self._answer([shown[i] for i in batch], settings[batch[0]])
                    for index, answer in zip(batch, produced, strict=True):
                        answers[index] = answer
                        if done:
                            done(index, answer)
        return [answers[index] for index in range(len(prompts))]

    def _answer(self, prompts: Sequence[Prompt], setting: Settings) -> list[Generation]:
        """Answer one batch."""
        with self.cost.clock():
            batch = self._batch(prompts, setting.max_new_tokens)
            with self._request(prompts, batch):
                produced, steps = generation.generate(
                    self.model,
                    self.encoder.tokenizer,
                    batch.inputs,
                    setting,
                    [prompt.key for prompt in prompts],
                )
        self._count(len(prompts), steps * len(prompts) * setting.options.get("num_beams", 1))
        self.cost.prompt_tokens += sum(answer.prompt_tokens for answer in produced)
        self.cost.generated_tokens += sum(answer.generated_tokens for answer in produced)
        return produced

    @torch.inference_mode()
    def score(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[Score]:
        """Return the log-likelihood of every continuation after the prompt of the same index.

        Continuations of one document that differ in their last token only share a row, and all
        that have one prompt share its preparation and the pictures of its branches.
        """
        scores: dict[int, Score] = {}
        with self._bar(None, "Scoring") as bar:
            for part, shown, outlines in self._parts(prompts):
                tokens = {i: self.encoder.continuation(outlines[i], continuations[i]) for i in part}
                shared: dict[tuple[Any, ...], list[int]] = defaultdict(list)
                for index in part:
                    document = _identity(outlines[index], index)
                    shared[(document, tuple(tokens[index][:-1]))].append(index)
                rows = list(shared.values())
                bar.total = (bar.total or 0) + len(rows)
                groups = {n: outlines[row[0]].media for n, row in enumerate(rows)}
                lengths = {
                    n: len(outlines[row[0]].text) + len(tokens[row[0]])
                    for n, row in enumerate(rows)
                }
                for batch in self._batches(groups, lengths, bar):
                    members = [rows[n] for n in batch]
                    found = self._score(
                        [shown[row[0]] for row in members],
                        [[tokens[i] for i in row] for row in members],
                    )
                    for row, values in zip(members, found, strict=True):
                        scores.update(zip(row, values, strict=True))
        return [scores[index] for index in range(len(prompts))]

    def _score(
        self, prompts: Sequence[Prompt], continuations: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Score]]:
        """Score the continuations of one batch of prompts."""
        with self.cost.clock():
            contexts = [self.encoder.context(prompt) for prompt in prompts]
            # the last token of a continuation is predicted, not read
            batch = self._batch(contexts, max(len(row[0]) for row in continuations) - 1)
            length = batch.inputs["input_ids"].shape[1]
            with self._request(contexts, batch, prompt_length=length):
                found = scoring.score(self.model, batch.inputs, continuations)
        self._count(sum(map(len, continuations)), len(prompts))
        self.cost.prompt_tokens += int(batch.inputs["attention_mask"].sum())
        return found

    def _parts(
        self, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[Iterable[int], _ByIndex[Prompt], _ByIndex[Outline]]]:
        """Indices to run together, with their prompts and outlines, prepared.

        Without preparations and views that is all of them. With, it is a few documents at a time,
        so that only what was made for these is in memory; all candidates of a document are in one
        part, wherever they are listed.
        """
        outlines = _outlines(prompts)
        if not self._handle.plan.reads_questions:
            yield range(len(prompts)), prompts, outlines
            return
        documents: dict[tuple[Any, str], list[int]] = defaultdict(list)
        for index, outline in enumerate(outlines):
            documents[_identity(outline, index)].append(index)
        lists = list(documents.values())
        step = _DOCUMENTS * self.batch_size
        for start in range(0, len(lists), step):
            shown = {}
            for indices in lists[start : start + step]:
                with self.cost.clock():
                    first = prompts[indices[0]]
                    made = prepared(self._handle, self.encoder, self._encode, first, self.cost)
                shown.update(dict.fromkeys(indices, made))
            yield list(shown), shown, {index: made.outline for index, made in shown.items()}
            self._views.clear()

    def _request(
        self, prompts: Sequence[Prompt], batch: Batch, prompt_length: int | None = None
    ) -> AbstractContextManager[None]:
        """Tell the intervention what the tensors of a batch do not show."""
        keys = [prompt.key for prompt in prompts]
        return self._handle.request(
            documents=keys if all(keys) else None,
            prompt_length=prompt_length,
            views=self._views.tensors(prompts, batch.inputs, self.model.dtype),
            parts=batch.parts,
        )

    def _batch(self, prompts: Sequence[Prompt], room: int = 0, with_parts: bool = True) -> Batch:
        """Encode a batch for the model, leaving ``room`` for new tokens."""
        config = self.model.config.get_text_config()
        plan = self._handle.plan
        batch = encoded(
            self.encoder,
            prompts,
            room=room,
            limit=self._max_length or getattr(config, "max_position_embeddings", None) or None,
            with_parts=with_parts and (plan.reads_parts or plan.reads_segments),
        )
        return Batch(to_device(batch.inputs, self.model.device, self.model.dtype), batch.parts)

    def _encode(self, prompts: Sequence[Prompt], room: int = 0) -> dict[str, Any]:
        """Encode prompts that a preparation asks, which are answered without the intervention."""
        return self._batch(prompts, room, with_parts=False).inputs

    def count_pass(self, rows: int, tokens: int) -> None:
        """Count a forward pass that the harness's own class made on this model."""
        self._count(0, rows)
        self.cost.prompt_tokens += tokens

    def _count(self, requests: int, plain_passes: int) -> None:
        """Add forward passes: counted by the intervention, or one a row and step without one."""
        self.cost.requests += requests
        if self._handle.plan.touches_model:
            plain_passes, self._handle.forward_passes = self._handle.forward_passes, 0
        self.cost.forward_passes += plain_passes

    def _bar(self, total: int | None, title: str) -> Any:
        return tqdm(total=total, desc=title, disable=self._quiet)

    def _batches(
        self, groups: Mapping[int, Any], lengths: Mapping[int, int], bar: Any
    ) -> Iterator[list[int]]:
        """Indices in batches of one group, longest first, so that padding and surprises are few."""
        by_group: dict[Any, list[int]] = defaultdict(list)
        for index, group in groups.items():
            by_group[group].append(index)
        for members in by_group.values():
            members.sort(key=lambda index: -lengths[index])
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                yield batch
                bar.update(len(batch))


def _identity(outline: Outline, index: int) -> tuple[Any, str]:
    """What two prompts share if they are one; without a key nothing says what is shown."""
    return outline.key or index, outline.text


def _outlines(prompts: Sequence[Prompt]) -> list[Outline]:
    """What is known of each prompt without rendering it again."""
    if isinstance(prompts, CheckedPrompts):
        return prompts.outlines
    return [prompt.outline for prompt in prompts]

"""One loaded model with its intervention: many prompts in, answers or scores out, costs counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from lmms_causal.errors import UserError
from lmms_causal.interventions import Handle, Plan, apply
from lmms_causal.models import generation, scoring
from lmms_causal.models.cost import Cost
from lmms_causal.models.generation import Generation, Settings
from lmms_causal.models.prompts import Encoder, Prompt, to_device
from lmms_causal.models.scoring import Score

__all__ = ["Runner"]


class Runner:
    """Runs prompts through a model in batches; what both harnesses' skins stand on.

    Attributes:
        model: the transformers model, with the intervention installed on it.
        encoder: renders and tokenises.
        cost: running totals.
    """

    def __init__(
        self, model: Any, encoder: Encoder, plan: Plan, *, batch_size: int = 1, quiet: bool = False
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.cost = Cost()
        self._handle: Handle = apply(model, plan)
        self._batch_size = batch_size
        self._quiet = quiet

    def close(self) -> None:
        """Remove the intervention from the model."""
        self._handle.remove()

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Prompt],
        settings: Sequence[Settings],
        done: Callable[[int, Generation], None] | None = None,
    ) -> list[Generation]:
        """Answer every prompt with its settings; ``done(index, answer)`` as answers come in."""
        answers: dict[int, Generation] = {}
        groups = [(repr(s), p.media) for p, s in zip(prompts, settings, strict=True)]
        lengths = [len(prompt.text) for prompt in prompts]
        for batch in self._batches(groups, lengths, "Generating"):
            chosen = [prompts[i] for i in batch]
            setting = settings[batch[0]]
            with self.cost.clock():
                produced, steps = generation.generate(
                    self.model,
                    self.encoder.tokenizer,
                    self._encode(chosen),
                    setting,
                    [prompt.key for prompt in chosen],
                )
            self._count(len(batch), steps * len(batch) * setting.options.get("num_beams", 1))
            for index, answer in zip(batch, produced, strict=True):
                self.cost.prompt_tokens += answer.prompt_tokens
                self.cost.generated_tokens += answer.generated_tokens
                answers[index] = answer
                if done:
                    done(index, answer)
        return [answers[index] for index in range(len(prompts))]

    @torch.inference_mode()
    def score(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Score]:
        """Return the log-likelihood of every continuation after its prompt.

        Continuations of one document that differ in their last token only share a row.
        """
        tokens = [self.encoder.continuation(prompt, text) for prompt, text in pairs]
        rows: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for index, ((prompt, _), added) in enumerate(zip(pairs, tokens, strict=True)):
            pictures = tuple(map(id, prompt.images + prompt.videos))
            rows[(prompt.key, prompt.text, pictures, tuple(added[:-1]))].append(index)
        members = list(rows.values())
        first = [self.encoder.without_trailing_blanks(pairs[row[0]][0]) for row in members]
        lengths = [len(p.text) + len(tokens[row[0]]) for p, row in zip(first, members, strict=True)]
        scores: dict[int, Score] = {}
        for batch in self._batches([p.media for p in first], lengths, "Scoring"):
            with self.cost.clock():
                inputs = self._encode([first[i] for i in batch])
                found = scoring.score(
                    self.model, inputs, [[tokens[i] for i in members[row]] for row in batch]
                )
            self._count(sum(len(members[row]) for row in batch), len(batch))
            self.cost.prompt_tokens += int(inputs["attention_mask"].sum())
            for row, values in zip(batch, found, strict=True):
                scores.update(zip(members[row], values, strict=True))
        return [scores[index] for index in range(len(pairs))]

    def _encode(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        inputs = self.encoder.encode(prompts)
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        length = inputs["input_ids"].shape[1]
        if limit and length > limit:
            raise UserError(
                f"{prompts[0].key}: the prompt has {length} tokens and the model reads {limit}; use a "
                "shorter prompt, smaller images or fewer frames"
            )
        return to_device(inputs, self.model.device, self.model.dtype)

    def _count(self, requests: int, plain_passes: int) -> None:
        """Add forward passes: counted by the intervention, or one a row and step without one."""
        self.cost.requests += requests
        if self._handle.plan.touches_model:
            plain_passes, self._handle.forward_passes = self._handle.forward_passes, 0
        self.cost.forward_passes += plain_passes

    def _batches(
        self, groups: Sequence[Any], lengths: Sequence[int], title: str
    ) -> Iterator[list[int]]:
        """Indices in batches of one group, longest first, so that padding and surprises are few."""
        by_group: dict[Any, list[int]] = defaultdict(list)
        for index, group in enumerate(groups):
            by_group[group].append(index)
        with tqdm(total=len(groups), desc=title, disable=self._quiet) as bar:
            for members in by_group.values():
                members.sort(key=lambda index: -lengths[index])
                for start in range(0, len(members), self._batch_size):
                    batch = members[start : start + self._batch_size]
                    yield batch
                    bar.update(len(batch))

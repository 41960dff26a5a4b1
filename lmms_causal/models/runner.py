"""One loaded model with its intervention: many prompts in, answers or scores out, costs counted."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from lmms_causal.errors import UserError
from lmms_causal.interventions import Handle, Plan, apply
from lmms_causal.models import generation, scoring
from lmms_causal.models.checking import CheckedPrompts
from lmms_causal.models.cost import Cost
from lmms_causal.models.generation import Generation, Settings
from lmms_causal.models.prompts import Encoder, Outline, Prompt, to_device
from lmms_causal.models.scoring import Score

__all__ = ["Runner"]

logger = logging.getLogger(__name__)


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
        self._handle: Handle = apply(model, plan)
        self.batch_size = batch_size
        self._max_length = max_length
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
        for names in {setting.ignored for setting in settings if setting.ignored}:
            logger.warning("generation arguments without a meaning here: %s", ", ".join(names))
        answers: dict[int, Generation] = {}
        outlines = _outlines(prompts)
        groups = [(repr(s), outline.media) for s, outline in zip(settings, outlines, strict=True)]
        lengths = [len(outline.text) for outline in outlines]
        for batch in self._batches(groups, lengths, "Generating"):
            chosen = [prompts[i] for i in batch]
            setting = settings[batch[0]]
            with self.cost.clock():
                produced, steps = generation.generate(
                    self.model,
                    self.encoder.tokenizer,
                    self._encode(chosen, setting.max_new_tokens),
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
    def score(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[Score]:
        """Return the log-likelihood of every continuation after the prompt of the same index.

        Continuations of one document that differ in their last token only share a row.
        """
        outlines = _outlines(prompts)
        tokens = [
            self.encoder.continuation(outline, text)
            for outline, text in zip(outlines, continuations, strict=True)
        ]
        shared: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for index, (outline, added) in enumerate(zip(outlines, tokens, strict=True)):
            document = outline.key or index  # without a key nothing says what is shown
            shared[(document, outline.text, tuple(added[:-1]))].append(index)
        rows = list(shared.values())
        lengths = [len(outlines[row[0]].text) + len(tokens[row[0]]) for row in rows]
        scores: dict[int, Score] = {}
        for batch in self._batches([outlines[row[0]].media for row in rows], lengths, "Scoring"):
            members = [rows[index] for index in batch]
            with self.cost.clock():
                contexts = [self.encoder.context(prompts[row[0]]) for row in members]
                # the last token of a continuation is predicted, not read
                room = max(len(tokens[row[0]]) for row in members) - 1
                inputs = self._encode(contexts, room)
                found = scoring.score(self.model, inputs, [[tokens[i] for i in r] for r in members])
            self._count(sum(map(len, members)), len(members))
            self.cost.prompt_tokens += int(inputs["attention_mask"].sum())
            for row, values in zip(members, found, strict=True):
                scores.update(zip(row, values, strict=True))
        return [scores[index] for index in range(len(prompts))]

    def _encode(self, prompts: Sequence[Prompt], room: int = 0) -> dict[str, Any]:
        """Encode a batch for the model, leaving ``room`` for new tokens.

        A text prompt that is too long loses its beginning, as in both harnesses; cutting into the
        placeholders of an image would break it, so there it is an error.
        """
        inputs = self.encoder.encode(prompts)
        config = self.model.config.get_text_config()
        limit = self._max_length or getattr(config, "max_position_embeddings", None)
        length = inputs["input_ids"].shape[1]
        if limit and length + room > limit:
            if any(prompts[0].outline.media) or room >= limit:
                raise UserError(
                    f"{prompts[0].key}: {length} prompt tokens and {room} new ones exceed the "
                    f"{limit} positions there are; use a shorter prompt, smaller images, fewer "
                    "frames or a smaller max_new_tokens"
                )
            logger.warning(
                "%s: the prompt has %d tokens, and there is room for %d; its beginning is cut off",
                prompts[0].key,
                length,
                limit - room,
            )
            inputs = {name: value[:, -(limit - room) :] for name, value in inputs.items()}
        return to_device(inputs, self.model.device, self.model.dtype)

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
                for start in range(0, len(members), self.batch_size):
                    batch = members[start : start + self.batch_size]
                    yield batch
                    bar.update(len(batch))


def _outlines(prompts: Sequence[Prompt]) -> list[Outline]:
    """What is known of each prompt without rendering it again."""
    if isinstance(prompts, CheckedPrompts):
        return prompts.outlines
    return [prompt.outline for prompt in prompts]

"""What happens to prompts before a batch is encoded: preparations, and pictures of branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import Handle
from lmms_causal.interventions.edits.media import MEDIA_INPUTS
from lmms_causal.interventions.plan import Branch
from lmms_causal.models.assistant import Encode, PromptAssistant, metered
from lmms_causal.models.cost import Cost
from lmms_causal.models.prompts import Encoder, to_device
from lmms_causal.models.questions import question_of, with_question, without_segments
from lmms_causal.models.turns import Prompt

__all__ = ["Views", "prepared"]


def prepared(
    handle: Handle, encoder: Encoder, encode: Encode, prompt: Prompt, cost: Cost
) -> Prompt:
    """Return the prompt as the plan's preparations ask it, what they did added to the cost.

    The model is the untouched one in the meantime. Gradients can be asked for: tensors are made
    outside of inference mode.
    """
    adapter = handle.adapter
    if adapter is None or not handle.plan.preparations:
        return prompt
    assistant = PromptAssistant(adapter, encoder, encode, without_segments(prompt))
    with (
        handle.paused(),
        torch.inference_mode(False),
        torch.no_grad(),
        metered(adapter.model, cost),
    ):
        question = handle.plan.prepare(question_of(prompt), assistant)
        return with_question(encoder, prompt, question)


class Views:
    """The pictures of branches that are shown others than the prompt's own.

    They are kept for each document until :meth:`clear`: all candidates scored for it share them.
    """

    def __init__(self, branches: Sequence[Branch], encoder: Encoder) -> None:
        self._branches = [branch for branch in branches if branch.view is not None]
        self._encoder = encoder
        self._kept: dict[tuple[str, str, str], tuple[Image.Image, ...]] = {}

    def clear(self) -> None:
        """Let go of the pictures."""
        self._kept.clear()

    def tensors(
        self, prompts: Sequence[Prompt], inputs: Mapping[str, Any], dtype: torch.dtype
    ) -> dict[str, dict[str, Tensor]]:
        """Return for each branch its picture tensors, in place of those of a batch.

        Args:
            prompts: the batch.
            inputs: its model inputs, on the model's device.
            dtype: of the model.

        Raises:
            UserError: the processor gives the branch's pictures other tokens than the prompt's.
        """
        if not any(any(prompt.outline.media) for prompt in prompts):
            return {}
        ids: Tensor = inputs["input_ids"]
        made = {}
        for branch in self._branches:
            shown = [replace(prompt, images=self._images(branch, prompt)) for prompt in prompts]
            encoded = self._encoder.encode(shown)
            if not torch.equal(encoded["input_ids"], ids.cpu()):
                raise UserError(
                    f"{prompts[0].key}: the pictures that the intervention's branch "
                    f"{branch.name!r} shows take other tokens than the prompt's own; they must be "
                    "of the same sizes"
                )
            pictures = {
                name: encoded[name]
                for name in MEDIA_INPUTS
                if isinstance(encoded.get(name), Tensor) and encoded[name].shape != ids.shape
            }
            made[branch.name] = to_device(pictures, ids.device, dtype)
        return made

    @torch.inference_mode(False)
    @torch.no_grad()
    def _images(self, branch: Branch, prompt: Prompt) -> tuple[Image.Image, ...]:
        """All pictures of a prompt, those of its question as the branch shows them."""
        identity = (branch.name, prompt.key, prompt.text)
        if prompt.key and identity in self._kept:
            return self._kept[identity]
        question = question_of(prompt)
        images = prompt.images
        if branch.view is not None and (question.images or question.videos):
            pictures = branch.view(question)
            if len(pictures) != len(question.images):
                raise ValueError(
                    f"the view of branch {branch.name!r} returned {len(pictures)} pictures for "
                    f"{len(question.images)}"
                )
            images = with_question(self._encoder, prompt, replace(question, images=pictures)).images
        self._kept[identity] = images
        return images

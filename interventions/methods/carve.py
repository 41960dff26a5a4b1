"""Contrastive attention refinement: ask about what the question, but no general prompt, looks at.

Ge et al., "Focusing by Contrastive Attention: Enhancing VLMs' Visual Reasoning", arXiv 2509.06461;
code YuyaoGe/CARVE.

Equations
---------
The unchanged model answers two prompts about a picture, greedily: the question and a general
instruction. At step ``t`` from 0 and decoder layer ``i`` let ``Q_ti`` and ``G_ti`` be the attention
of the newest token to the picture's visual tokens, mean over heads. What both look at is the
picture's own noise; what the question adds is

    S = sum_t (t + 1) sum_i  Q_ti / (G_ti + lam)

over the steps that both answers have. ``S`` is stretched over the picture, thresholded at its
``1 - p`` quantile and split into regions (connected along sides). The ``K = max(k, int(n p))`` of
``n`` regions with the largest sums are kept, the rest is blacked out, and their common bounding box
is cut out and enlarged by the larger of the two factors that restore a side. The model is then
asked about the result.

Cost
----
Two further answers of up to ``steps`` tokens for every picture, before the usual one, whose prompt
has twice as many visual tokens with ``final_images=both``.

Paper and code
--------------
The paper's algorithm shows the refined picture only (``final_images=refined``), the code the
original and then the refined one (``both``). ``variant=all`` weights and sums all steps as the code
does by default; ``last`` takes the last step alone, the ``t_end`` of the paper's first table. The
code reads layers 20 to 25 whatever the depth; here they are scaled with it below 26 and above 40
layers. The code answers without a cache, here with one; the rows of attention are the same. Prompts
are worded anew. As in the code the map is stretched over the whole picture, also where the model's
processor cuts out the middle (LLaVA-1.5). Ours: of a picture that is cut into tiles the view of the
whole counts; tokens to which the general prompt gives no weight at all, outside a sliding window,
count nothing; a very narrow box is widened to an eighth of the other side's share; with several
pictures each is looked at alone and all are refined. Not ported: the code's variants that look at
the first step only (``steps=1`` reads the same step) and rank regions by size.

Published
---------
Accuracy, greedy, layers 20 to 25, without / last step / all steps (table 1 of the paper):
LLaVA-1.5-7B on A-OKVQA 71.5 / 78.2 / 75.4, POPE 83.6 / 89.0 / 89.0, V* 38.7 / 66.5 / 66.5, TextVQA
47.8 / 58.2 / 57.9; Qwen2.5-VL-7B on A-OKVQA 75.0 / 78.3 / 78.0, POPE 87.0 / 89.7 / 88.6, V* 50.8 /
59.7 / 58.1, TextVQA 75.0 / 81.9 / 81.7. With ``p = 1`` nothing changes; ``p = 0.2`` with one region
hurts (figure 7).

Unverified
----------
The value of ``lam`` in the reported numbers (the code has 1e-8; the appendix states 0.05 for a
symbol that is probably it), and whether their final prompt had one picture or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from lmms_causal.errors import UserError
from lmms_causal.interventions import pictures
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.adapter.grids import overview
from lmms_causal.interventions.attention.observing import last_weights
from lmms_causal.interventions.layers import beyond, named_layers
from lmms_causal.interventions.plan import Plan, WithoutImage
from lmms_causal.interventions.question import Assistant, Question
from lmms_causal.interventions.ranges import check_not_negative, check_share
from lmms_causal.interventions.registry import method

__all__ = ["CARVE", "answer_maps", "contrast", "fused", "refined"]

PUBLISHED = (20, 25)
"""First and last layer, counted from 0, in models of 28 to 40 layers."""


@method
@dataclass(frozen=True)
class CARVE:
    """Parameters of the refinement.

    Attributes:
        p: share of a picture, in [0, 1], that the map marks; 1 leaves pictures as they are.
        k: regions kept at least.
        lam: added to the attention under the general instruction.
        layers: decoder layers from 0, as ``20-25`` or ``7``; None takes the published ones, scaled
            to the depth of unusual models.
        steps: tokens that both answers have at most.
        variant: ``all`` steps, later ones with more weight, or the ``last`` one alone.
        final_images: what is asked about: the ``refined`` pictures, or ``both``, originals first.
        instruction: the general instruction.
        suffix: written behind question and instruction where attention is read; may be empty.
        without_image: ``refuse`` prompts without an image, or ``skip`` (leave) them.
    """

    p: float = 0.2
    k: int = 3
    lam: float = 1e-8
    layers: str | None = None
    steps: int = 32
    variant: Literal["all", "last"] = "all"
    final_images: Literal["refined", "both"] = "refined"
    instruction: str = "Say in general terms what this image shows."
    suffix: str = "Reply with one word or a short phrase."
    without_image: WithoutImage = "refuse"

    def __post_init__(self) -> None:
        check_share(self, "p")
        for name in ("k", "steps"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"intervention carve: {name}={getattr(self, name)} must be 1 or more"
                )
        check_not_negative(self, "lam")
        if self.layers is not None:
            named_layers("carve", "layers", self.layers)

    def plan(self) -> Plan:
        """Refine the pictures before they are asked about, unless all of them would be kept."""
        if self.p == 1 and self.final_images == "refined":
            return Plan()
        return Plan(preparations=(self.prepare,), requirements=(self.requirement,))

    def requirement(self, adapter: ModelAdapter) -> str | None:
        """The model must see, and it must be known how its visual tokens lie on a picture."""
        if not adapter.sees:
            if self.without_image == "skip":
                return None
            return (
                "it refines a picture, and the model reads text only; with without_image=skip it "
                "does nothing"
            )
        if adapter.family is None:
            return "how its visual tokens lie on a picture is not known for this family"
        return beyond("layers", self.chosen(adapter.depth), adapter.depth, "decoder layers")

    def chosen(self, depth: int) -> range:
        """The layers that are read, of a decoder of some depth."""
        if self.layers is not None:
            return named_layers("carve", "layers", self.layers)
        if PUBLISHED[1] < depth <= 40:
            return range(PUBLISHED[0], PUBLISHED[1] + 1)
        first_scaled, last_scaled = (layer * depth // 32 for layer in PUBLISHED)
        return range(first_scaled, last_scaled + 1)

    def prepare(self, question: Question, assistant: Assistant) -> Question:
        """Return the question about refined pictures."""
        if question.videos:
            raise UserError(
                "intervention carve: how a video is refined is not defined; ask about pictures"
            )
        if not question.images:
            if self.without_image == "skip":
                return question
            raise UserError(
                "intervention carve needs an image in every prompt and found one without; use "
                "without_image=skip to leave such prompts untouched"
            )
        made = tuple(self.refine(picture, question, assistant) for picture in question.images)
        kept = question.images if self.final_images == "both" else ()
        return replace(question, images=(*kept, *made))

    def refine(self, picture: Image.Image, question: Question, assistant: Assistant) -> Image.Image:
        """Return one picture, refined for the question."""
        layers = self.chosen(assistant.adapter.depth)
        asked, general = (
            answer_maps(
                assistant,
                replace(question, text=f"{text} {self.suffix}".strip(), images=(picture,)),
                layers,
                self.steps,
            )
            for text in (question.text, self.instruction)
        )
        return refined(picture, fused(asked, general, self.lam, self.variant), self.p, self.k)


class _Steps(LogitsProcessor):
    """Called once a step, behind the forward pass: keeps what was read, changes nothing."""

    def __init__(self, read: dict[int, Tensor], positions: Tensor) -> None:
        self.maps: list[Tensor] = []
        self._read = read
        self._positions = positions

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> Any:
        rows = []
        for weights in self._read.values():
            row = weights.new_zeros(input_ids.shape[1])
            row[len(row) - weights.shape[1] :] = weights[0]  # a sliding window has forgotten some
            rows.append(row[self._positions.to(row.device)].cpu())
        self.maps.append(torch.stack(rows))
        return scores


@torch.no_grad()
def answer_maps(
    assistant: Assistant, question: Question, layers: Sequence[int], steps: int
) -> Tensor:
    """Return attention to the picture at each step of a greedy answer, ``[T, layers, h, w]``.

    Args:
        assistant: the unchanged model.
        question: about one picture.
        layers: decoder layers.
        steps: tokens of the answer at most; it ends before where the model ends it.
    """
    adapter = assistant.adapter
    inputs = assistant.encode(question)
    grid = overview(adapter, inputs)
    with last_weights(adapter.attention, layers) as read:
        recorder = _Steps(read, grid.positions)
        adapter.model.generate(
            **inputs,
            max_new_tokens=steps,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            use_cache=True,
            logits_processor=LogitsProcessorList([recorder]),
        )
    return torch.stack(recorder.maps).unflatten(-1, (grid.height, grid.width))


def contrast(asked: Tensor, general: Tensor, lam: float) -> Tensor:
    """Return ``Q / (G + lam)``, any shape; 0 where the general prompt gives no weight at all."""
    return torch.where(general > 0, asked / (general + lam), 0.0)


def fused(
    asked: Tensor, general: Tensor, lam: float, variant: Literal["all", "last"] = "all"
) -> Tensor:
    """Return the map ``S [h, w]`` of two answers ``[T, layers, h, w]``; steps pair by index."""
    common = min(len(asked), len(general))
    contrasts = contrast(asked[:common], general[:common], lam).double().sum(dim=1)
    if variant == "last":
        return contrasts[-1]
    weights = torch.arange(1, common + 1, dtype=contrasts.dtype)
    return torch.einsum("t,thw->hw", weights, contrasts)


def refined(picture: Image.Image, values: Tensor, p: float, k: int) -> Image.Image:
    """Return a picture cut to what a map ``[h, w]`` marks in it, at least as large as before."""
    mask = pictures.strongest_regions(pictures.stretched(values.numpy(), picture.size), p, k)
    box = pictures.widened(pictures.bounding_box(mask), picture.size)
    return pictures.enlarged(pictures.blacked_out(picture, mask), box)

"""Stage three: the language model learns to read questions and to look the answers up.

The vision tower stays frozen. Loss is taken on answers and their end tokens only.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from lmms_causal.tasks.causal_vqa_mini.draws import Draws
from lmms_causal.tasks.causal_vqa_mini.scenes import TRAIN
from lmms_causal.tasks.causal_vqa_mini.world import add_noise, pixels
from lmms_causal.tiny_llava.build import (
    BOS,
    EOS,
    HEADS,
    HIDDEN,
    IMAGE,
    IMAGE_TOKENS,
    PAD,
    to_pixel_values,
)
from lmms_causal.tiny_llava.curriculum import Sequence, balanced_sequence, prior_sequence
from lmms_causal.tiny_llava.optimiser import Optimiser

_STAGE_LANGUAGE = 3
_BATCH = 16
_IGNORE = -100
_MATCHING_SCALE = 0.8


class Batcher:
    """Turns sequences into model inputs with the token ids the chat template would give."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._encode = cache(lambda text: tokenizer.encode(text, add_special_tokens=False))

    def tokens(self, sequence: Sequence) -> tuple[list[int], list[int], list[tuple[int, str]]]:
        """Token ids, labels, and (position of the answer's last word, kind) for each turn."""
        ids, labels, answers = [BOS], [_IGNORE], []
        for number, (kind, question, answer) in enumerate(sequence.turns):
            if number == 0 and sequence.scene is not None:
                prompt = self._encode("USER: ") + [IMAGE] * IMAGE_TOKENS
                prompt = prompt + self._encode(f"\n{question} ASSISTANT:")
            else:
                prompt = self._encode(f"USER: {question} ASSISTANT:")
            reply = self._encode(" " + answer)
            ids += [*prompt, *reply, EOS]
            labels += [_IGNORE] * len(prompt) + [*reply, EOS]
            answers.append((len(ids) - 2, kind))
        return ids, labels, answers

    def inputs(
        self, sequences: list[Sequence], draws: Draws
    ) -> tuple[dict[str, Any], list[tuple[int, int, str]]]:
        """Model inputs (right-padded) and (row, position, kind) of the answers in them."""
        rows = [self.tokens(sequence) for sequence in sequences]
        length = max(len(ids) for ids, _, _ in rows)
        ids = np.full((len(rows), length), PAD)
        labels = np.full((len(rows), length), _IGNORE)
        places = []
        for number, (row_ids, row_labels, answers) in enumerate(rows):
            ids[number, : len(row_ids)] = row_ids
            labels[number, : len(row_ids)] = row_labels
            places += [(number, position, kind) for position, kind in answers]
        images = [
            add_noise(pixels(sequence.scene), sequence.noise_sd, draws.seed())
            for sequence in sequences
            if sequence.scene is not None
        ]
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy((ids != PAD).astype(np.int64)),
            "labels": torch.from_numpy(labels),
            "pixel_values": to_pixel_values(np.stack(images)) if images else None,
        }, places


def match_content(model: LlavaForConditionalGeneration, seed: int) -> None:
    """Let every head start by attending to tokens that look like the one that asks.

    Query and key projections of a head get the same random orthonormal rows times 0.8, plus a
    little noise.
    """
    generator = torch.Generator().manual_seed(seed)
    size, heads = HIDDEN, HEADS
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            for head in range(heads):
                square = torch.randn(size, size, generator=generator)
                rows = torch.linalg.qr(square)[0][: size // heads] * _MATCHING_SCALE
                where = slice(head * size // heads, (head + 1) * size // heads)
                for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                    noise = torch.randn(rows.shape, generator=generator)
                    projection.weight[where] = rows + 0.02 * noise


def train_language(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    balanced_steps: int = 1200,
    prior_steps: int = 800,
    report_every: int = 100,
) -> list[dict[str, float]]:
    """Stage three; returns the running training accuracy per kind every ``report_every`` steps."""
    match_content(model, seed)
    batcher = Batcher(tokenizer)
    steps = balanced_steps + prior_steps
    optimiser = Optimiser(model.parameters(), rate=1.2e-3, steps=steps, decay=0.05, warmup=60)
    history: list[dict[str, float]] = []
    hits: dict[str, list[bool]] = defaultdict(list)
    model.train()
    for step in range(steps):
        draws = Draws(TRAIN, _STAGE_LANGUAGE, seed, step)
        draw = balanced_sequence if step < balanced_steps else prior_sequence
        inputs, places = batcher.inputs([draw(draws) for _ in range(_BATCH)], draws)
        output = model(**inputs, use_cache=False)
        optimiser.step(output.loss)
        guesses = output.logits.argmax(-1)
        for row, position, kind in places:
            right = guesses[row, position - 1] == inputs["labels"][row, position]
            hits[kind].append(bool(right))
        if (step + 1) % report_every == 0 or step + 1 == steps:
            accuracy = {kind: round(sum(hit) / len(hit), 4) for kind, hit in sorted(hits.items())}
            history.append({"step": step + 1, "loss": round(output.loss.item(), 4), **accuracy})
            print("language", history[-1], flush=True)
            hits.clear()
    model.eval()
    return history

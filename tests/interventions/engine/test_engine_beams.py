"""Beam search through the engine against one written out, without cache, engine or generate."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lmms_causal.interventions import Plan, apply
from lmms_causal.interventions.branches import text_only
from lmms_causal.interventions.edits.logits import contrast
from lmms_causal.interventions.methods.vcd import VCD
from lmms_causal.interventions.plan import Increment
from lmms_causal.testing import Prompt, encode, picture

STEPS, BEAMS = 5, 3
STRENGTH = 1.5
PROMPTS = [
    Prompt("Is it red?", (picture(1, 60, 44),)),
    Prompt("Which of them fell first, and why?", (picture(2),)),
]


def two_contrasts() -> Plan:
    """A branch with the same tokens and one with others."""
    vcd = VCD(alpha=STRENGTH, beta=0).plan()
    branch = text_only("refuse")
    increment = Increment(
        "text",
        lambda s: contrast(s.factual, s.branches[branch.name], STRENGTH),
        branches=(branch.name,),
    )
    return vcd.then(Plan((branch,), (increment,)))


def visual_tokens(model: Any) -> list[int]:
    names = ("image_token_id", "video_token_id")
    return [getattr(model.config, name) for name in names if hasattr(model.config, name)]


def markers(processor: Any) -> list[int]:
    texts = ("<|vision_start|>", "<|vision_end|>")
    return [t for t, v in processor.tokenizer.added_tokens_decoder.items() if str(v) in texts]


@torch.no_grad()
def log_probabilities(model: Any, processor: Any, prompt: Prompt, tokens: list[int]) -> Any:
    """``[V]`` after the prompt and the tokens, every pass from scratch."""

    def logits(inputs: dict[str, Any]) -> Any:
        longer = dict(inputs)
        for name, value in inputs.items():
            if value.shape == inputs["input_ids"].shape:
                fill = {"input_ids": tokens, "attention_mask": [1] * len(tokens)}
                tail = torch.tensor([fill.get(name, [0] * len(tokens))], dtype=value.dtype)
                longer[name] = torch.cat([value, tail], dim=1)
        return model(**longer, use_cache=False).logits[0, -1].float()

    inputs = dict(encode(processor, [prompt]))
    noised = {**inputs, **VCD().noised(inputs)}
    gone = {*visual_tokens(model), *markers(processor)}
    kept = [token for token in inputs["input_ids"][0].tolist() if token not in gone]
    blind = {"input_ids": torch.tensor([kept]), "attention_mask": torch.ones(1, len(kept)).long()}
    factual = logits(inputs)
    added = sum(STRENGTH * (factual - logits(other)) for other in (noised, blind))
    return (factual + added).log_softmax(-1)


def brute_force(model: Any, processor: Any, prompt: Prompt) -> list[int]:
    """The likeliest of ``BEAMS`` beams after ``STEPS`` tokens; no token ends an answer."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(STEPS):
        grown = []
        for total, tokens in beams:
            best = log_probabilities(model, processor, prompt, tokens).topk(2 * BEAMS)
            for value, token in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                grown.append((total + value, [*tokens, token]))
        beams = sorted(grown, key=lambda beam: -beam[0])[:BEAMS]
    return beams[0][1]


@pytest.mark.parametrize("execution", ["stacked", "paired"])
@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_beams_equal_a_search_written_out(tiny, name, execution):
    model, processor = tiny(name)
    inputs = encode(processor, PROMPTS)
    length = inputs["input_ids"].shape[1]
    with apply(model, two_contrasts(), processor, execution=execution):
        answers = model.generate(**inputs, max_new_tokens=STEPS, num_beams=BEAMS, do_sample=False)[
            :, length:
        ]
    for answer, prompt in zip(answers.tolist(), PROMPTS, strict=True):
        assert answer == brute_force(model, processor, prompt)

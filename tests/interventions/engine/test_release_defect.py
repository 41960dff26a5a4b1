"""The cache defect of several releases: reproduced by ``variant=release``, absent by default.

Their loops re-copied the factual model inputs, the cache among them, for the second branch of every
step. Only the first token was contrasted; the loop below is written that way.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.engine.combine import combined
from lmms_causal.interventions.plan import Increment, Signals
from lmms_causal.testing import Prompt, encode, picture

STEPS = 5
SPECS = {
    "vcd": "vcd(alpha=4;beta=0)",
    "agla": "agla(alpha=2;beta=0;matcher=saliency)",
    "causalmm": "causalmm(gamma=4;epsilon=0)",
}


def views_of(plan: Plan, inputs: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """A darker left half, for branches that are shown pictures of their own."""
    pixels = inputs["pixel_values"].clone()
    pixels[..., : pixels.shape[-1] // 2] = -1.5
    return {b.name: {"pixel_values": pixels} for b in plan.branches if b.view is not None}


def first_signals(model: Any, processor: Any, plan: Plan, inputs: dict[str, Any]) -> Signals:
    """What the correct engine sees at the first token."""
    seen: list[Signals] = []

    def record(signals: Signals) -> Tensor:
        seen.append(signals)
        return torch.zeros_like(signals.factual)

    names = tuple(branch.name for branch in plan.branches)
    watching = replace(plan, increments=(Increment("record", record, branches=names),))
    with (
        apply(model, watching, processor) as handle,
        handle.request(documents=["document"], views=views_of(plan, inputs)),
    ):
        model.generate(**inputs, max_new_tokens=1)
    return seen[0]


@torch.no_grad()
def as_released(model: Any, processor: Any, plan: Plan, inputs: dict[str, Any]) -> list[int]:
    """The released loop: from the second token on, every branch continues the factual cache."""
    where = {b.name: torch.ones(1, 1, dtype=torch.bool) for b in plan.branches}
    signals = first_signals(model, processor, plan, inputs)
    cache = DynamicCache(config=model.config.get_text_config())
    model(**inputs, past_key_values=cache, use_cache=True)
    tokens = [int(combined(plan, signals, where)[0, -1].argmax())]
    for step in range(1, STEPS):
        given = {"input_ids": torch.tensor([tokens[-1:]])}
        others = {
            branch.name: model(**given, past_key_values=copy.deepcopy(cache)).logits.float()
            for branch in plan.branches
        }
        factual = model(**given, past_key_values=cache).logits.float()
        assert all(torch.equal(other, factual) for other in others.values()), "the defect"
        signals = replace(signals, factual=factual, branches=others, step=torch.tensor([step]))
        tokens.append(int(combined(plan, signals, where)[0, -1].argmax()))
    return tokens


@pytest.mark.parametrize("method", SPECS)
def test_variant_release_answers_like_the_released_loop_and_the_default_does_not(method, tiny):
    model, processor = tiny("llava")
    differs = False
    for seed in range(4):
        prompt = Prompt("Which of the two fell first?", (picture(seed, 60, 44),))
        inputs = dict(encode(processor, [prompt]))
        answers = {}
        for variant in ("release", "paper"):
            plan = parse(SPECS[method].replace(")", f";variant={variant})")).plan()
            with (
                apply(model, plan, processor) as handle,
                handle.request(documents=["document"], views=views_of(plan, inputs)),
            ):
                output = model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)
            answers[variant] = output[0, inputs["input_ids"].shape[1] :].tolist()
            if variant == "release":
                assert answers[variant] == as_released(model, processor, plan, inputs)
        differs |= answers["release"] != answers["paper"]
    assert differs, "the examples must be some that the defect changes"

"""Instruction contrastive decoding: the same prompt with a disturbing instruction in it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.engine.combine import combined
from lmms_causal.interventions.methods.icd import DISTURBANCES, ICD
from lmms_causal.interventions.plan import Increment, Signals

VISION = ["llava", "qwen2_vl", "gemma3"]
TEXT = ["llama", "gemma2"]


def test_worked_example():
    factual = torch.tensor([[[2, 1, 0.5, -1, -3]]])
    branches = {"disturbed": torch.tensor([[[1, 1.5, 0.5, -2, 0]]])}
    signals = Signals(factual, branches, None, 2, lambda *_: factual, (0,), False)
    applies = {"disturbed": torch.ones(1, 1, dtype=torch.bool)}
    result = combined(ICD().plan(), signals, applies)
    expected = torch.tensor([[[3, 0.5, 0.5, -math.inf, -math.inf]]])
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("family", VISION)
def test_every_step_contrasts_with_the_question_behind_the_instruction(runs, family):
    # The disturbed prompt is rendered anew, so the positions of pictures are the model's own.
    run = runs(family)
    prompts = iter(prompt for prompt in run.prompts for _ in range(4))

    def expected(factual, inputs, tokens):
        prompt = next(prompts)
        disturbed = replace(prompt, text=f"{DISTURBANCES['vague']}\n{prompt.text}")
        logits = 3 * factual - 2 * run.last(run.inputs(disturbed), tokens)
        return logits.masked_fill(factual < factual.max() + math.log(0.05), -math.inf)

    run.follows("icd(alpha=2;beta=0.05;role=vague)", expected)


@pytest.mark.parametrize("family", TEXT)
def test_in_a_text_prompt_the_instruction_opens_the_users_turn(runs, family):
    run = runs(family)
    opening = run.tokenizer("<s>[user]", add_special_tokens=False)["input_ids"]
    words = run.tokenizer("Mumble it.\n", add_special_tokens=False)["input_ids"]

    def expected(factual, inputs, tokens):
        ids = inputs["input_ids"][0].tolist()
        assert ids[: len(opening)] == opening
        changed = [*opening, *words, *ids[len(opening) :]]
        return 2 * factual - run.last({"input_ids": torch.tensor([changed])}, tokens)

    run.follows("icd(beta=0;text=Mumble it.)", expected)


@pytest.mark.parametrize("family", [*VISION, "llama"])
def test_all_ways_of_running_agree(runs, family):
    runs(family).agrees("icd(alpha=3;beta=0.01)")


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "idefics3", "internvl"])
def test_cached_and_uncached_agree_where_pictures_stay(runs, family):
    run = runs(family)
    with apply(run.model, "icd(beta=0)", run.processor):
        answer = run.generate(run.inputs())
        assert torch.equal(run.generate(run.inputs(), use_cache=False), answer)


def test_roles_are_different_instructions(runs):
    run = runs("llava")
    scores = []
    for role in DISTURBANCES:
        with apply(run.model, f"icd(role={role};beta=0)", run.processor), torch.no_grad():
            scores.append(run.model(**run.inputs()).logits[:, -1])
    for first in range(len(scores)):
        assert all(not torch.allclose(scores[first], other) for other in scores[:first])


def test_without_a_tokenizer_the_message_says_what_to_pass(runs):
    run = runs("llava")
    with pytest.raises(UserError, match="has no tokenizer; pass processor="):
        apply(run.model, "icd")
    assert "forward" not in run.model.__dict__


@pytest.mark.parametrize("family", [*VISION, *TEXT])
def test_neutral_setting_installs_nothing(runs, family):
    runs(family).is_untouched_by("icd(alpha=0;beta=0)")
    assert ICD(alpha=0).plan() == Plan(increments=(Increment("icd", beta=0.1),))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("icd(alpha=-1)", "alpha=-1.0 must be 0 or more"),
        ("icd(beta=2)", r"beta=2.0 must lie in 0\.\.1"),
        ("icd(role=liar)", "role=liar is not one of detector, relations"),
        ("icd(text=)", "text is empty"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)

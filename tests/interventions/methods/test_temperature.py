"""Temperature: a control that divides logits, those of other methods included."""

from __future__ import annotations

import math

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse

FAMILIES = ["llava", "qwen2_vl", "gemma3", "llama", "gemma2"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_is_divided(runs, family):
    runs(family).follows("temperature(value=0.4)", lambda factual, *_: factual / 0.4)


@pytest.mark.parametrize("family", ["llava", "llama"])
def test_same_samples_as_at_the_callers_temperature(runs, family):
    run = runs(family)
    expected = run.generate(run.inputs(), do_sample=True, temperature=0.4, top_k=0)
    with apply(run.model, "temperature(value=0.4)"):
        assert torch.equal(run.generate(run.inputs(), do_sample=True, top_k=0), expected)
    assert not torch.equal(run.generate(run.inputs(), do_sample=True, top_k=0), expected)


def test_divides_the_combined_logits_on_the_tokens_of_the_factual_ones(runs):
    run = runs("llava")

    def expected(factual, inputs, tokens):
        text = run.last(run.without_pictures(inputs), tokens)
        logits = (3 * factual - 2 * text) / 0.5
        return logits.masked_fill(factual < factual.max() + math.log(0.1), -math.inf)

    for spec in (
        "temperature(value=0.5)+pai(alpha=0;gamma=3)",
        "pai(alpha=0;gamma=3)+temperature(value=0.5)",
    ):
        run.follows(spec, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_is_off(runs, family):
    assert parse("temperature(value=1)").plan() == Plan()
    runs(family).is_untouched_by("temperature(value=1)")


@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan"])
def test_bad_values_are_named(value):
    with pytest.raises(UserError, match=r"intervention temperature: value=\S+ must be above 0"):
        parse(f"temperature(value={value})")

"""M3ID: a contrast that grows with the answer, behind a gate of confidence."""

from __future__ import annotations

import math

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.methods.m3id import M3ID
from lmms_causal.interventions.plan import Increment, Signals

VISION = ["llava", "qwen2_vl", "gemma3"]
FACTUAL = torch.tensor([2, 1, 0.5, -1, -3])
WITHOUT = torch.tensor([1, 1.5, 0.5, -2, 0])
UNSURE, BLIND = torch.tensor([1, 0.9, 0.8, 0.7, 0.6]), torch.tensor([1.4, 0.9, 0.4, 0.7, 0.6])


def decoded(method: M3ID, step: int, factual: torch.Tensor, without: torch.Tensor) -> torch.Tensor:
    """Log-probability of the picture's pass plus the increment, ``[V]``."""
    here, there = factual[None, None], without[None, None]
    signals = Signals(
        here, {"text_only": there}, torch.tensor([step]), 2, lambda *_: here, (0,), False
    )
    return factual.log_softmax(-1) + method.increment(signals)[0, 0]


@pytest.mark.parametrize(
    ("method", "step", "factual", "without", "expected"),
    [
        (M3ID(), 10, FACTUAL, WITHOUT, [-0.499280, -1.499280, -1.999280, -3.499280, -5.499280]),
        (
            M3ID(alpha=1),
            10,
            FACTUAL,
            WITHOUT,
            [-0.321780, -1.653884, -2.043183, -3.321780, -6.207391],
        ),
        (
            M3ID(alpha=1, t0=10),
            0,
            FACTUAL,
            WITHOUT,
            [-0.321780, -1.653884, -2.043183, -3.321780, -6.207391],
        ),
        (M3ID(), 10, UNSURE, BLIND, [-1.496403, -1.507842, -1.519281, -1.707842, -1.807842]),
        (M3ID(), 50, UNSURE, BLIND, [-2.016900, -1.429587, -0.842275, -1.629587, -1.729587]),
    ],
    ids=["closed", "open", "t0", "unsure_10", "unsure_50"],
)
def test_worked_numbers(method, step, factual, without, expected):
    result = decoded(method, step, factual, without)
    torch.testing.assert_close(result, torch.tensor(expected), atol=2e-6, rtol=0)


def test_weights_of_the_default_decay_and_their_limit():
    steps = torch.tensor([0, 1, 10, 50, 100])
    expected = torch.tensor([0, 0.020201, 0.221403, 1.718282, 6.389056])
    torch.testing.assert_close(M3ID().weight(steps), expected, atol=1e-6, rtol=0)
    assert M3ID(max_weight=2).weight(steps).tolist()[-2:] == pytest.approx([1.718282, 2])
    assert M3ID().weight(torch.tensor([100_000])).item() == 1e6, "not infinite"


@pytest.mark.parametrize("family", VISION)
@pytest.mark.parametrize("alpha", [0.02, 1.0])
def test_every_step_is_the_papers_formula(runs, family, alpha):
    run = runs(family)
    gates = []

    def expected(factual, inputs, tokens):
        image = factual.log_softmax(-1)
        text = run.last(run.without_pictures(inputs), tokens).log_softmax(-1)
        weight = math.exp(0.5 * (len(tokens) + 1)) - 1
        gates.append(bool(image.max() < math.log(alpha)))
        return image + weight * (image - text) if gates[-1] else image

    run.follows(f"m3id(decay=0.5;t0=1;alpha={alpha})", expected)
    assert all(gates) if alpha == 1 else not all(gates)


@pytest.mark.parametrize("family", VISION)
def test_the_other_variant_has_a_cutoff_and_no_gate(runs, family):
    run = runs(family)

    def expected(factual, inputs, tokens):
        text = run.last(run.without_pictures(inputs), tokens)
        logits = factual + (math.exp(0.5 * len(tokens)) - 1) * (factual - text)
        return logits.masked_fill(factual < factual.max() + math.log(0.1), -math.inf)

    run.follows("m3id(variant=only;decay=0.5;alpha=0)", expected)


@pytest.mark.parametrize("family", VISION)
def test_all_ways_of_running_agree(runs, family):
    runs(family).agrees("m3id(decay=0.5;t0=2;alpha=1)")


def test_first_token_is_untouched_and_text_is_too_on_request(runs):
    run = runs("llava")
    inputs = run.inputs()
    with torch.no_grad():
        plain = run.model(**inputs).logits[:, -1]
        with apply(run.model, "m3id(alpha=1)") as handle:
            with handle.request(prompt_length=inputs["input_ids"].shape[1]):
                assert torch.equal(run.model(**inputs).logits[:, -1], plain)
            with pytest.raises(UserError, match="does not say where the answer begins"):
                run.model(**inputs)
    text = runs("llama")
    text_inputs = text.inputs()
    expected = text.generate(text_inputs)
    with pytest.raises(UserError, match="the model reads text only"):
        apply(text.model, "m3id")
    with apply(text.model, "m3id(alpha=1;t0=50;without_image=skip)"):
        assert torch.equal(text.generate(text_inputs), expected)


@pytest.mark.parametrize("family", VISION)
def test_neutral_settings_install_nothing(runs, family):
    neutral = ["m3id(decay=0)", "m3id(alpha=0)", "m3id(max_weight=0)"]
    neutral.append("m3id(decay=0;variant=only;beta=0)")
    runs(family).is_untouched_by(*neutral)
    assert M3ID(decay=0, variant="only").plan() == Plan(increments=(Increment("m3id", beta=0.1),))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("m3id(decay=-1)", "decay=-1.0 must be 0 or more"),
        ("m3id(max_weight=inf)", "max_weight=inf must be 0 or more, and finite"),
        ("m3id(t0=-1)", "t0=-1 must be 0 or more"),
        ("m3id(alpha=1.5)", r"alpha=1.5 must lie in 0\.\.1"),
        ("m3id(beta=-0.5)", r"beta=-0.5 must lie in 0\.\.1"),
        ("m3id(variant=code)", "variant=code is not one of paper, only"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)

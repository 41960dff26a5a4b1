"""PAI's logit part: the contrast with the same words without the picture."""

from __future__ import annotations

import math

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.branches import text_only
from lmms_causal.interventions.engine.combine import combined
from lmms_causal.interventions.methods.pai import PAI
from lmms_causal.interventions.plan import Signals

VISION = ["llava", "qwen2_vl", "gemma3"]


def test_worked_example():
    factual = torch.tensor([[[2, 1, 0.5, -1, -3]]])
    branches = {"text_only": torch.tensor([[[1, 1.5, 0.5, -2, 0]]])}
    signals = Signals(factual, branches, None, 2, lambda *_: factual, (0,), False)
    applies = {"text_only": torch.ones(1, 1, dtype=torch.bool)}
    result = combined(PAI(gamma=1.5).plan(), signals, applies).softmax(dim=-1)
    expected = torch.tensor([[[0.763878, 0.132742, 0.103380, 0, 0]]])
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", VISION)
@pytest.mark.parametrize(("gamma", "beta"), [(2.0, 0.0), (1.1, 0.1)])
def test_every_step_is_the_released_formula(runs, family, gamma, beta):
    run = runs(family)

    def expected(factual, inputs, tokens):
        image = factual.log_softmax(-1)
        text = run.last(run.without_pictures(inputs), tokens).log_softmax(-1)
        logits = gamma * (image - text) + text
        return (
            logits.masked_fill(image < math.log(beta) + image.max(), -math.inf) if beta else logits
        )

    run.follows(f"pai(gamma={gamma};beta={beta})", expected)


@pytest.mark.parametrize("family", VISION)
def test_all_ways_of_running_agree(runs, family):
    runs(family).agrees("pai(gamma=3;beta=0.01)")


@pytest.mark.parametrize("family", VISION)
def test_neutral_setting_skips_the_cutoff_too(runs, family):
    assert PAI(gamma=1, beta=0.5).plan() == Plan()
    runs(family).is_untouched_by("pai(gamma=1)")


def test_methods_without_picture_share_one_branch_and_its_pass(runs):
    plan = parse("pai+cfg(scale=2)+m3id").plan()
    assert plan.branches == (text_only("refuse"),)
    run = runs("llava")
    with apply(run.model, plan) as handle, torch.no_grad():
        run.generate(run.inputs())
    assert handle.forward_passes == 3 * 2 * 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pai(gamma=-1)", "gamma=-1.0 must be 0 or more"),
        ("pai(gamma=inf)", "gamma=inf must be 0 or more, and finite"),
        ("pai(beta=2)", r"beta=2.0 must lie in 0\.\.1"),
        ("pai+m3id(without_image=skip)", "define the branch 'text_only' differently"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)

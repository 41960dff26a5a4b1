"""PAI: raised scores of picture tokens, and the contrast with the same words without a picture."""

from __future__ import annotations

import math

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.branches import text_only
from lmms_causal.interventions.engine.combine import combined
from lmms_causal.interventions.layers import all_but_first
from lmms_causal.interventions.methods.pai import PAI
from lmms_causal.interventions.plan import Signals
from lmms_causal.testing import Prompt

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

    run.follows(f"pai(alpha=0;gamma={gamma};beta={beta})", expected)


def raised(run, rewritten, alpha, layers=(0, 1)):
    """Logits after an answer so far, ``|s|`` added where the prompt's end and the answer ask."""

    def logits(inputs, tokens):
        longer = run.appended(inputs, [tokens])
        longer["attention_mask"] = torch.ones_like(longer["input_ids"])
        last = inputs["input_ids"].shape[1] - 1
        image = ModelAdapter.of(run.model, run.processor).is_visual(longer["input_ids"][0])

        def change(layer, scores, seen):
            if layer in layers:
                more = alpha * scores.abs() * image
                more[:, :, :last] = 0
                scores = scores + more
            return scores, seen

        with torch.no_grad(), rewritten(run.model, change) as copied:
            return copied(**longer, use_cache=False).logits[0, -1].float()

    return logits


@pytest.mark.parametrize("family", [*VISION, "internvl"])
@pytest.mark.parametrize(("layers", "indices"), [("0-1", (0, 1)), ("None", (1,))])
def test_attention_part_is_the_model_with_raised_scores(runs, rewritten, family, layers, indices):
    run = runs(family)
    logits = raised(run, rewritten, 2.0, indices)
    run.follows(
        f"pai(alpha=2;gamma=1;layers={layers})",
        lambda factual, inputs, tokens: logits(inputs, tokens),
    )


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_the_branch_without_the_picture_is_not_edited(runs, rewritten, variant):
    run = runs("llava")
    logits = raised(run, rewritten, 2.0)

    def expected(factual, inputs, tokens):
        image = logits(inputs, tokens)
        if variant == "release":  # the prompt's own last token is left
            image = factual if not tokens else late(inputs, tokens)
        text = run.last(run.without_pictures(inputs), tokens)
        return 1.5 * image.log_softmax(-1) - 0.5 * text.log_softmax(-1)

    def late(inputs, tokens):
        first = run.appended(inputs, [tokens[:1]])
        return logits(first, tokens[1:])

    run.follows(f"pai(alpha=2;gamma=1.5;beta=0;layers=0-1;variant={variant})", expected)


def test_default_layers():
    assert list(all_but_first(32, 2)) == list(range(2, 32))
    assert [list(all_but_first(depth, 2)) for depth in (1, 2, 3)] == [[0], [1], [2]]


@pytest.mark.parametrize("family", VISION)
@pytest.mark.parametrize("spec", ["pai(alpha=0;gamma=3;beta=0.01)", "pai(alpha=1;layers=0-1)"])
def test_all_ways_of_running_agree(runs, family, spec):
    runs(family).agrees(spec)


@pytest.mark.parametrize("family", VISION)
def test_neutral_setting_skips_the_cutoff_too(runs, family):
    assert PAI(alpha=0, gamma=1, beta=0.5).plan() == Plan()
    runs(family).is_untouched_by("pai(alpha=0;gamma=1)")


def test_the_attention_part_alone_refuses_or_leaves_prompts_without_a_picture(runs):
    run = runs("llava")
    inputs = run.inputs(Prompt("Is it red?"))
    plain = run.generate(inputs)
    with apply(run.model, "pai(gamma=1)"), pytest.raises(UserError, match="pai needs an image"):
        run.generate(inputs)
    with apply(run.model, "pai(alpha=3;gamma=1;without_image=skip)"):
        assert torch.equal(run.generate(inputs), plain)
    with pytest.raises(UserError, match="pai needs a picture, and the model reads text only"):
        apply(runs("llama").model, "pai(gamma=1)")


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
        ("pai(alpha=-1)", "alpha=-1.0 must be 0 or more"),
        ("pai(layers=x)", "layers=x must be a range of layers"),
        ("pai(gamma=-1)", "gamma=-1.0 must be 0 or more"),
        ("pai(gamma=inf)", "gamma=inf must be 0 or more, and finite"),
        ("pai(beta=2)", r"beta=2.0 must lie in 0\.\.1"),
        ("pai+m3id(without_image=skip)", "define the branch 'text_only' differently"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)

"""PASTA: added to the scores as the definition says, once in every layer, or compounding."""

from __future__ import annotations

import math

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.attention.observing import observing
from lmms_causal.interventions.methods.pasta import Pasta

IDS = torch.tensor([[5, 9, 13, 30, 31, 32, 33, 7, 21, 11, 17, 40]])
PROMPT = IDS.shape[1]
STEPS = 3
ALPHA = 0.05
SCALED = {  # columns whose weights are multiplied, with tokens 3-5 and 8 highlighted
    "exclude": [0, 1, 2, 6, 7, 9, 10, 11],
    "include": [3, 4, 5, 8],
    "generation": list(range(PROMPT)),
}


def scaled_weights(call, columns, factor, heads):
    """Outputs ``[q, H, d]`` of one call, float64: weights multiplied, rows divided by their sum."""
    weights = call.weights(slice(None))[0].double()
    for head in heads:
        weights[head, :, columns] *= factor
    weights = weights / weights.sum(dim=-1, keepdim=True)
    groups = call.query.shape[1] // call.key.shape[1]
    value = call.value[0].double().repeat_interleave(groups, dim=0)
    return (weights @ value).transpose(0, 1)


def watched(model, processor, spec):
    calls = []
    with (
        apply(model, spec, processor) as handle,
        observing(handle.adapter.attention, lambda layer, call: calls.append((layer, call))),
    ):
        model.generate(input_ids=IDS, max_new_tokens=STEPS, do_sample=False)
    assert len(calls) == 2 * STEPS
    return calls


@pytest.mark.parametrize("mode", list(SCALED))
@pytest.mark.parametrize("variant", ["paper", "release"])
def test_weights_are_multiplied_and_renormalised_in_prompt_and_answer(mode, variant, tiny):
    model, processor = tiny("llama")
    spec = f"pasta(highlight=3-5|8;alpha={ALPHA};mode={mode};heads=0|1.2;variant={variant})"
    for layer, call in watched(model, processor, spec):
        factor = ALPHA ** (layer + 1) if variant == "release" else ALPHA
        heads = [0, 2] if layer == 1 else [0]
        expected = scaled_weights(call, SCALED[mode], factor, heads)
        torch.testing.assert_close(call.output[0].double(), expected, atol=1e-5, rtol=1e-5)


def test_all_heads_are_a_mask_with_a_bias_of_our_own(tiny):
    model, processor = tiny("llama")
    bias = torch.zeros(PROMPT, PROMPT)
    bias[:, SCALED["exclude"]] = math.log(ALPHA)
    mask = bias.masked_fill(~torch.ones_like(bias, dtype=torch.bool).tril(), -torch.inf)
    with torch.no_grad():
        expected = model(input_ids=IDS, attention_mask=mask[None, None]).logits
        with (
            apply(model, f"pasta(highlight=3-5|8;alpha={ALPHA})", processor) as handle,
            handle.request(prompt_length=PROMPT),
        ):
            found = model(input_ids=IDS).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_context_steering_compounds_only_as_released():
    steering = Pasta(highlight="turn", alpha=0.9, variant="release")
    assert math.exp(steering.amount(31)) == pytest.approx(0.034, abs=5e-4)
    biases = [
        Pasta(highlight="turn", alpha=0.9, variant=variant).plan().attention[0].operation
        for variant in ("paper", "release")
    ]
    assert [bias.of(0) for bias in biases] == [math.log(0.9)] * 2
    assert biases[0].of(31) == math.log(0.9)
    assert biases[1].of(31) == 32 * math.log(0.9)


def test_alpha_one_is_no_intervention():
    assert parse("pasta(alpha=1)").plan() == Plan()
    assert parse("pasta(alpha=1;variant=release;mode=generation)").plan() == Plan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("alpha=0", "alpha=0.0 must be above 0"),
        ("alpha=inf", "alpha=inf must be above 0, and finite"),
        ("highlight=word", "highlight=word names tokens by"),
        ("mode=none", "mode=none is not one of exclude, include, generation"),
        ("heads=1-0", "heads=1-0 names heads as"),
    ],
)
def test_bad_parameters_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(f"pasta({arguments})")

"""Edits in whole models: layers, heads, batches, caches and steps, against the stock model."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply
from lmms_causal.interventions.attention.edits import (
    AttentionEdit,
    Bias,
    Calibrate,
    Close,
    Gain,
    HeadReplace,
    HeadScale,
    Open,
    Replace,
    Scale,
    Uniform,
    Where,
)
from lmms_causal.interventions.attention.heads import Heads
from lmms_causal.interventions.attention.spans import (
    BOS,
    GENERATED,
    LAST,
    PREDICTING,
    PROMPT,
    tokens,
)
from lmms_causal.interventions.plan import Plan

ROWS = ([5, 9, 13, 30, 31, 32, 33, 7, 21, 11, 17, 40, 41, 42, 60], [8, 44, 45, 19, 7, 23])
STEPS = 4


def batch(*rows):
    width = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[0] * (width - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
    }


def edited(operation, **where):
    return Plan(attention=(AttentionEdit(operation, Where(**where)),))


def generated(model, inputs, **options):
    """Logits of a short answer ``[B, STEPS, V]``, and the answer ``[B, STEPS]``."""
    output = model.generate(
        **inputs,
        max_new_tokens=STEPS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )
    return torch.stack(output.logits, dim=1), output.sequences[:, -STEPS:]


def in_implementation(model, name):
    """The same weights on another attention implementation, for the time of a test."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    return before


@pytest.fixture(params=["sdpa", "eager"])
def llama(request, tiny):
    model, processor = tiny("llama")
    before = in_implementation(model, request.param)
    yield model, processor
    model.set_attn_implementation(before)


def by_mask(model, inputs, bias):
    """Logits of the stock model with a mask ``[B, 1, L, L]`` of our own."""
    length = inputs["input_ids"].shape[1]
    seen = torch.ones(length, length, dtype=torch.bool).tril()[None]
    seen = seen & inputs["attention_mask"].bool()[:, None]
    lowest = torch.finfo(torch.float32).min
    mask = torch.where(seen, bias, lowest)[:, None]
    positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        return model(inputs["input_ids"], attention_mask=mask, position_ids=positions).logits


def test_a_bias_is_the_same_in_every_layer(llama):
    """S3: nothing adds up in a mask that layers share."""
    model, processor = llama
    inputs = batch(ROWS[0])
    bias = torch.zeros(1, 15, 15)
    bias[:, :, 3:7] = -1.3
    with apply(model, edited(Bias(-1.3), keys=tokens(3, 6)), processor), torch.no_grad():
        found = model(**inputs).logits
    torch.testing.assert_close(found, by_mask(model, inputs, bias), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert (found - model(**inputs).logits).abs().max() > 1e-2


def test_a_closed_column_is_one_that_the_mask_hides(llama):
    model, processor = llama
    inputs = batch(*ROWS)
    real = inputs["attention_mask"].bool()
    index = inputs["attention_mask"].cumsum(-1) - 1
    hidden = (index >= 2) & (index <= 3) & real
    bias = torch.where(hidden[:, None], torch.finfo(torch.float32).min, 0.0).expand(-1, 15, -1)
    later = (index > 3)[..., None]  # queries that see something else as well
    bias = torch.where(later, bias, 0.0)
    with (
        apply(model, edited(Close(), queries=tokens(4, 99), keys=tokens(2, 3)), processor),
        torch.no_grad(),
    ):
        found = model(**inputs).logits
    torch.testing.assert_close(
        found[real], by_mask(model, inputs, bias)[real], atol=1e-5, rtol=1e-5
    )


def test_a_head_is_what_the_output_projection_is_given(tiny):
    """H1, H2: three ways to take a head out are one; a slice of the module's output is another."""
    model, processor = tiny("llama")
    inputs, layer, head = batch(ROWS[0]), 1, 2
    attention = model.model.layers[layer].self_attn
    width = model.config.head_dim
    slot = slice(head * width, (head + 1) * width)
    plan = edited(HeadScale(0.0), layers=lambda depth: [layer], heads=Heads(frozenset({head})))
    with apply(model, plan, processor), torch.no_grad():
        scaled = model(**inputs).logits

    def blank(module, given):
        states = given[0].clone()
        states[..., slot] = 0
        return (states,)

    hook = attention.o_proj.register_forward_pre_hook(blank)
    with torch.no_grad():
        of_input = model(**inputs).logits
    hook.remove()
    weight = attention.o_proj.weight.data.clone()
    attention.o_proj.weight.data[:, slot] = 0
    with torch.no_grad():
        of_weight = model(**inputs).logits
    attention.o_proj.weight.data.copy_(weight)

    def blank_output(module, given, output):
        states = output[0].clone()
        states[..., slot] = 0
        return (states, *output[1:])

    hook = attention.register_forward_hook(blank_output)
    with torch.no_grad():
        of_output = model(**inputs).logits
    hook.remove()
    assert torch.equal(scaled, of_input)
    assert torch.equal(scaled, of_weight)
    assert (scaled - of_output).abs().max() > 1e-2


def squared(weights, allowed, where):
    return weights**2


def ramp(where):
    heads = torch.linspace(-1, 1, 4 * 8).reshape(1, 1, 4, 8)
    return heads + where.queries[..., None, None] / 10


OPERATIONS = {
    "open": (Open(), {"queries": tokens(1, 3), "keys": tokens(3, 5)}),
    "close": (Close(), {"queries": PREDICTING, "keys": tokens(1, 4)}),
    "bias": (Bias(1.5), {"keys": BOS}),
    "bias by layer": (Bias(lambda layer: layer + 1.0), {"queries": GENERATED, "keys": PROMPT}),
    "gain": (Gain(0.8), {"queries": LAST, "keys": tokens(0, 3)}),
    "scale": (Scale(0.05), {"keys": tokens(2, 4), "heads": Heads(frozenset({1, 2}))}),
    "scale by zero": (Scale(0.0), {"keys": tokens(2, 4)}),
    "scale, not renormalised": (Scale(3.0, renormalise=False), {"keys": ~BOS}),
    "uniform": (Uniform(), {"queries": PREDICTING, "heads": Heads(frozenset({0, 3}))}),
    "uniform while decoding": (Uniform(), {"queries": GENERATED}),
    "replace": (Replace(squared), {"queries": PREDICTING}),
    "calibrate": (Calibrate(0.1, None, 1.5), {}),
    "calibrate while decoding": (Calibrate(0.1, None, 1.5), {"queries": GENERATED}),
    "scale heads": (HeadScale(2.0), {"heads": Heads.of_layers({1: [0, 2]})}),
    "replace heads": (HeadReplace(ramp), {"queries": PREDICTING, "heads": Heads(frozenset({2}))}),
}


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_rows_batches_caches_and_scores_agree(name, family, tiny):
    """B1: left padding, cached or not, generated or scored: the same logits of each row."""
    model, processor = tiny(family)
    operation, where = OPERATIONS[name]
    inputs = batch(*ROWS)
    stock, _ = generated(model, inputs)
    with apply(model, edited(operation, **where), processor) as handle:
        alone = [generated(model, batch(row)) for row in ROWS]
        wanted, answers = (torch.cat(parts) for parts in zip(*alone, strict=True))
        assert (wanted - stock).abs().max() > 1e-3, "the edit has an effect"
        for options in ({}, {"use_cache": False}):
            found, tokens_found = generated(model, inputs, **options)
            assert torch.equal(tokens_found, answers)
            torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
        longer = {
            "input_ids": torch.cat([inputs["input_ids"], answers], dim=1),
            "attention_mask": torch.cat(
                [inputs["attention_mask"], torch.ones_like(answers)], dim=1
            ),
        }
        length = inputs["input_ids"].shape[1]
        with handle.request(prompt_length=length), torch.no_grad():
            scored = model(**longer).logits[:, length - 1 : -1]
    torch.testing.assert_close(scored, wanted, atol=2e-5, rtol=1e-5)


def test_what_a_window_has_passed_can_be_opened_again(tiny):
    """Layers with a window keep every key where an edit may open it."""
    model, processor = tiny("mistral")
    assert model.config.sliding_window < len(ROWS[0])
    inputs = batch(ROWS[0])
    with apply(model, edited(Open(), queries=GENERATED, keys=tokens(0, 2)), processor):
        cached, _ = generated(model, inputs)
        whole, _ = generated(model, inputs, use_cache=False)
    torch.testing.assert_close(cached, whole, atol=2e-5, rtol=1e-5)
    assert (cached - generated(model, inputs)[0]).abs().max() > 1e-3


def test_what_is_opened_never_shows_an_answer_ahead(tiny):
    """Another answer's end leaves the logits of what stands before it, though all is opened."""
    model, processor = tiny("llama")
    inputs = batch(ROWS[0] + [50, 51, 52])
    other = batch(ROWS[0] + [50, 51, 61])
    with apply(model, edited(Open()), processor) as handle, handle.request(prompt_length=15):
        found, changed = model(**inputs).logits, model(**other).logits
    assert torch.equal(found[:, :-1], changed[:, :-1])
    assert not torch.equal(found[:, -1], changed[:, -1])


@pytest.mark.parametrize("use_cache", [True, False])
def test_an_edit_acts_in_every_layer_and_step(use_cache, tiny):
    """B3: layers times (1 + decoding steps)."""
    model, processor = tiny("llama")
    calls = []

    def counted(weights, allowed, where):
        calls.append((where.layer, weights.shape[2]))
        return weights

    with apply(model, edited(Replace(counted)), processor):
        generated(model, batch(*ROWS), use_cache=use_cache)
    lengths = [15, 1, 1, 1] if use_cache else [15, 16, 17, 18]
    assert calls == [(layer, length) for length in lengths for layer in range(2)]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_neutral_edits_and_none_are_the_stock_model(implementation, tiny):
    """I1, I3: to the last bit, on the implementation that the model had."""
    model, processor = tiny("llama")
    before = in_implementation(model, implementation)
    inputs = batch(*ROWS)
    with torch.no_grad():
        plain, answer = model(**inputs).logits, generated(model, inputs)[0]
    neutral = (Bias(0.0), Gain(0.0), Scale(1.0), HeadScale(1.0), Calibrate(1.0, 0.1))
    for plan in (Plan(), Plan(attention=tuple(AttentionEdit(it) for it in neutral))):
        with apply(model, plan, processor), torch.no_grad():
            assert torch.equal(model(**inputs).logits, plain)
            assert torch.equal(generated(model, inputs)[0], answer)
            assert model.config._attn_implementation == implementation
    model.set_attn_implementation(before)


def test_our_attention_comes_with_a_mask_of_its_name(tiny):
    """I4: a model without a mask would see the future."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    model, processor = tiny("llama")
    with apply(model, edited(Bias(1.0), keys=BOS), processor), torch.no_grad():
        model(**batch(ROWS[0]))
    ours = {name for name in ALL_ATTENTION_FUNCTIONS.valid_keys() if name.startswith("lmms_causal")}
    assert ours
    assert ours <= set(ALL_MASK_ATTENTION_FUNCTIONS.valid_keys())


def test_caches_of_a_fixed_length_are_refused(tiny):
    """B2: columns are counted from the cache's length."""
    model, processor = tiny("llama")
    with (
        apply(model, edited(Bias(1.0), keys=BOS), processor),
        pytest.raises(UserError, match="cache_implementation"),
    ):
        model.generate(**batch(ROWS[0]), max_new_tokens=2, cache_implementation="static")

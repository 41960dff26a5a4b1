"""Head ablation: at the input of the output projection, which is where heads are."""

from __future__ import annotations

import copy

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse
from lmms_causal.interventions.attention.observing import observing
from lmms_causal.interventions.attention.spans import LAST
from lmms_causal.interventions.attention.tables import HeadTable, head_means
from lmms_causal.testing import Prompt, encode

IDS = torch.tensor([[5, 9, 13, 30, 31, 32, 33, 7, 21, 11, 17, 40]])
LENGTH = IDS.shape[1]
STEPS = 3


def logits(model, processor, spec, ids=IDS):
    with (
        apply(model, spec, processor) as handle,
        torch.no_grad(),
        handle.request(prompt_length=LENGTH),
    ):
        return model(input_ids=ids).logits


def watched(model, processor, spec):
    """Calls of layer 1, of a generation."""
    calls = []

    def visit(layer, call):
        if layer == 1:
            calls.append(call)

    with apply(model, spec, processor) as handle, observing(handle.adapter.attention, visit):
        model.generate(input_ids=IDS, max_new_tokens=STEPS, do_sample=False)
    return calls


def with_projection_edited(model, edit, ids=IDS):
    """Logits of the stock model, the input ``[B, L, H d]`` of layer 1's projection edited."""
    projection = model.get_decoder().layers[1].self_attn.o_proj
    handle = projection.register_forward_pre_hook(lambda module, given: (edit(given[0].clone()),))
    try:
        with torch.no_grad():
            return model(input_ids=ids).logits
    finally:
        handle.remove()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_zero_is_a_zeroed_slice_of_the_projections_input_and_zeroed_columns(family, tiny):
    model, processor = tiny(family)
    width = model.get_decoder().layers[1].self_attn.head_dim

    def zeroed(states):
        states[..., 2 * width : 3 * width] = 0
        return states

    found = logits(model, processor, "head_ablate(heads=1.2)")
    assert torch.equal(found, with_projection_edited(model, zeroed))
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_decoder().layers[1].self_attn.o_proj.weight[:, 2 * width : 3 * width] = 0
        assert torch.equal(found, other(input_ids=IDS).logits)
        assert (found - model(input_ids=IDS).logits).abs().max() > 1e-2


def test_a_slice_of_the_modules_output_is_not_a_head(tiny):
    model, processor = tiny("llama")
    attention = model.get_decoder().layers[1].self_attn

    def sliced(module, given, output):
        states = output[0].clone()
        states[..., 16:24] = 0  # where head 2 would be, if these were heads
        return (states, *output[1:])

    handle = attention.register_forward_hook(sliced)
    try:
        with torch.no_grad():
            wrong = model(input_ids=IDS).logits
    finally:
        handle.remove()
    assert (logits(model, processor, "head_ablate(heads=1.2)") - wrong).abs().max() > 1e-1


def test_heads_that_share_keys_and_values_stay(tiny):
    model, processor = tiny("llama")
    assert model.config.num_attention_heads == 2 * model.config.num_key_value_heads
    calls = watched(model, processor, "head_ablate(heads=1.2;queries=prompt)")
    own = calls[0].plain()
    assert torch.equal(calls[0].output[:, :, [0, 1, 3]], own[:, :, [0, 1, 3]])
    assert torch.equal(calls[0].output[:, :, 2], torch.zeros_like(own[:, :, 2]))
    assert own[:, :, 2].abs().max() > 1e-2


@pytest.mark.parametrize(
    ("queries", "ablated"),
    [
        ("all", [range(LENGTH), [0], [0]]),
        ("prompt", [range(LENGTH), [], []]),
        ("generated", [[], [0], [0]]),
        ("predicting", [[LENGTH - 1], [0], [0]]),
        ("2-4", [[2, 3, 4], [], []]),
    ],
)
@pytest.mark.parametrize("ablation", ["zero", "uniform"])
def test_queries_say_at_which_tokens(queries, ablated, ablation, tiny):
    model, processor = tiny("llama")
    spec = f"head_ablate(heads=1.0|1.3;ablation={ablation};queries={queries})"
    calls = watched(model, processor, spec)
    assert len(calls) == STEPS
    for call, rows in zip(calls, ablated, strict=True):
        expected = call.plain()[0].clone()
        value = call.value[0].repeat_interleave(2, dim=0)
        for row in rows:
            visible = call.key.shape[2] - call.query.shape[2] + row + 1
            for head in (0, 3):
                mean = value[head, :visible].mean(dim=0)  # of all values it may see, none ahead
                expected[row, head] = mean if ablation == "uniform" else 0
        torch.testing.assert_close(call.output[0], expected, atol=1e-6, rtol=1e-5)


def test_a_mean_is_that_of_the_table_at_every_step(tiny, tmp_path):
    model, processor = tiny("llama")
    texts = ("Is it red?", "Which of the two was first, and why?")
    batches = [dict(encode(processor, [Prompt(text)])) for text in texts]
    means = head_means(model, processor, batches)
    table = means.save(tmp_path / "means.safetensors")
    spec = f"head_ablate(heads=1.1-2;ablation=mean;table={table})"
    for call in watched(model, processor, spec):
        assert torch.equal(
            call.output[0, :, 1:3], means.values[1][1:3].expand(call.query.shape[2], -1, -1)
        )
        own = call.plain()
        assert torch.equal(call.output[:, :, [0, 3]], own[:, :, [0, 3]])

    def replaced(states):
        states[..., 8:24] = means.values[1][1:3].flatten()
        return states

    assert torch.equal(logits(model, processor, spec), with_projection_edited(model, replaced))
    assert str(parse(spec)).endswith(f"table={table})")


def test_the_table_of_one_prompts_last_token_puts_that_output_in(tiny, tmp_path):
    """Resampling: with every head of every layer taken from a prompt, its last token's answer."""
    model, processor = tiny("llama")
    other = IDS.flip(1)
    table = head_means(model, processor, [{"input_ids": other}], LAST)
    path = table.save(tmp_path / "one.safetensors")
    same_end = torch.cat([IDS[:, :-1], other[:, -1:]], dim=1)
    spec = f"head_ablate(heads=all;ablation=mean;queries=last;table={path})"
    found = logits(model, processor, spec, same_end)[:, -1]
    with torch.no_grad():
        expected = model(input_ids=other).logits[:, -1]
        plain = model(input_ids=same_end).logits[:, -1]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (plain - expected).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "parameter 'heads' is required"),
        ("heads=1.2;ablation=mean", "ablation=mean must come with table=FILE#DIGEST"),
        ("heads=1.2;table=x.safetensors", "table=x.safetensors must be left out with ablation"),
        ("heads=1.2;ablation=mean;table=none.safetensors", "cannot read the table"),
        ("heads=last", "heads=last names heads as"),
        ("heads=1.2;queries=now", "queries=now names tokens by"),
    ],
)
def test_bad_parameters_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(f"head_ablate({arguments})")


def test_what_a_model_lacks_is_named(tiny, tmp_path):
    model, processor = tiny("llama")
    with pytest.raises(UserError, match="layer 2 goes beyond its 2 layers"):
        apply(model, "head_ablate(heads=2.0)", processor)
    small = HeadTable({1: torch.zeros(2, 8)}, {}).save(tmp_path / "t.safetensors")
    with pytest.raises(UserError, match="has 2 heads of 8 numbers in layer 1, and the model has 4"):
        apply(model, f"head_ablate(heads=1.0;ablation=mean;table={small})", processor)


def test_commas_become_bars_in_the_canonical_text():
    written = parse("head_ablate(heads=1.2,0.1)")
    assert "heads=1.2|0.1" in str(written)
    assert "," not in str(written)

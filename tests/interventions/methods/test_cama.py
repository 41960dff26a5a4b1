"""Context-aware mean ablation: tables by hand, and what is left of a prompt."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse, registry
from lmms_causal.interventions.edits.expectations import state_means
from lmms_causal.testing import Prompt, encode, picture

ROWS = torch.tensor([[5, 9, 13, 30, 7], [5, 9, 14, 30, 7], [5, 8, 13, 30, 7], [5, 9, 13, 31, 7]])


def batch(ids, pads=0):
    padding = torch.zeros(len(ids), pads, dtype=torch.long)
    mask = torch.cat([padding, torch.ones_like(ids)], dim=1)
    return {"input_ids": torch.cat([padding, ids], dim=1), "attention_mask": mask}


@torch.no_grad()
def found(model, processor, spec, inputs):
    length = inputs["input_ids"].shape[1]
    with apply(model, spec, processor) as handle, handle.request(prompt_length=length):
        return model(**inputs).logits


@pytest.fixture
def table(tiny, tmp_path):
    """A table of the tiny Llama over all rows, as a spec names it."""
    model, processor = tiny("llama")
    batches = [batch(ROWS[:3]), batch(ROWS[3:], pads=2)]
    return state_means(model, processor, batches, range(2)).save(tmp_path / "means.safetensors")


def by_hooks(model, ids, layers, ablated=slice(None)):
    """The stock model with its states exchanged for means over rows with the same token there."""
    kept = {}

    def keep(layer):
        def hook(module, given, output):
            kept[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    blocks = model.get_decoder().layers
    hooks = [blocks[layer].register_forward_hook(keep(layer)) for layer in layers]
    with torch.no_grad():
        model(ROWS)
    for hook in hooks:
        hook.remove()

    def exchange(layer):
        def hook(module, given, output):
            states = (output[0] if isinstance(output, tuple) else output).clone()
            for row in range(len(ids)):
                for place in range(ids.shape[1])[ablated]:
                    same = ROWS[:, place] == ids[row, place]
                    states[row, place] = kept[layer][same, place].mean(dim=0)
            return (states, *output[1:]) if isinstance(output, tuple) else states

        return hook

    hooks = [blocks[layer].register_forward_hook(exchange(layer)) for layer in layers]
    with torch.no_grad():
        logits = model(ids).logits
    for hook in hooks:
        hook.remove()
    return logits


@pytest.mark.parametrize("layer", [0, 1])
def test_states_are_means_over_prompts_with_the_same_token_there(layer, table, tiny):
    model, processor = tiny("llama")
    result = found(model, processor, f"cama(layer={layer};table={table})", batch(ROWS))
    wanted = by_hooks(model, ROWS, range(layer + 1))
    torch.testing.assert_close(result, wanted, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert (result - model(ROWS).logits).abs().max() > 1e-3


def test_a_span_is_ablated_and_no_other(table, tiny):
    model, processor = tiny("llama")
    spec = f"cama(layer=0;table={table};queries=1-3)"
    result = found(model, processor, spec, batch(ROWS))
    wanted = by_hooks(model, ROWS, [0], slice(1, 4))
    torch.testing.assert_close(result, wanted, atol=1e-5, rtol=1e-5)


def test_through_the_last_layer_prompts_with_one_last_token_answer_alike(table, tiny):
    model, processor = tiny("llama")
    result = found(model, processor, f"cama(layer=1;table={table})", batch(ROWS))[:, -1]
    torch.testing.assert_close(result, result[:1].expand_as(result), atol=1e-6, rtol=1e-6)


def test_a_table_of_the_prompt_itself_changes_nothing(tiny, tmp_path):
    model, processor = tiny("llama")
    own = state_means(model, processor, [batch(ROWS[:1])], range(2)).save(tmp_path / "own")
    result = found(model, processor, f"cama(layer=1;table={own})", batch(ROWS[:1], pads=3))
    with torch.no_grad():
        plain = model(ROWS[:1]).logits
    torch.testing.assert_close(result[:, 3:], plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "llava", "qwen2_5_vl", "gemma3"])
def test_batches_caches_and_scores_agree(family, runs, tmp_path):
    case = runs(family)
    shown = (picture(9),) if case.prompts[0].images else ()
    others = [Prompt(text, shown) for text in ("Is it blue?", "Why was it?", "Which is it?")]
    means = state_means(case.model, case.processor, [encode(case.processor, others)], [0])
    spec = f"cama(layer=0;table={means.save(tmp_path / 'means')};missing=skip)"
    case.agrees(spec)


def test_two_batches_are_one(tiny):
    model, processor = tiny("llama")
    whole = state_means(model, processor, [batch(ROWS)], [1])
    split = state_means(model, processor, [batch(ROWS[:1], 1), batch(ROWS[1:])], [1])
    assert torch.equal(whole.keys, split.keys)
    torch.testing.assert_close(whole.values[1], split.values[1], atol=1e-5, rtol=1e-5)
    assert len(whole.keys) == 1 + 2 + 2 + 2 + 1


def test_tokens_that_the_table_has_not_met(table, tiny):
    model, processor = tiny("llama")
    ids = ROWS[:1].clone()
    ids[0, 2] = 60
    with pytest.raises(UserError, match="no state of token 60 at place 2"):
        found(model, processor, f"cama(layer=0;table={table})", batch(ids))
    skipped = found(model, processor, f"cama(layer=0;table={table};missing=skip)", batch(ids))
    with torch.no_grad():
        plain = model(ids).logits
    assert torch.equal(skipped.isfinite(), plain.isfinite())
    assert (skipped - plain).abs().max() > 1e-3


def test_the_example_s_table_is_no_file_and_no_model_runs_it(tiny):
    model, processor = tiny("llama")
    assert parse(registry.example("cama")).plan() != Plan()
    with pytest.raises(UserError, match=r"table=FILE#DIGEST is no file; .*state_means"):
        apply(model, registry.example("cama"), processor)


def test_bad_values_are_named(table, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"no table")
    for spec, names in (
        ("cama", "layer=None and table=None need each other; make one by .*state_means"),
        ("cama(layer=3)", "layer=3 and table=None"),
        (f"cama(table={table})", "need each other"),
        (f"cama(layer=-1;table={table})", "layer=-1"),
        (f"cama(layer=0;table={table};queries=here)", "queries=here"),
        (f"cama(layer=0;table={table[:-2]}zz)", "has content"),
        (f"cama(layer=0;table={other})", "must be pinned"),
    ):
        with pytest.raises(UserError, match=f"intervention cama: .*{names}"):
            parse(spec)


def test_what_a_model_lacks(table, tiny, tmp_path):
    model, processor = tiny("llama")
    one = state_means(model, processor, [batch(ROWS)], [1]).save(tmp_path / "one")
    for spec, reason in (
        (f"cama(layer=5;table={table})", "beyond its 2"),
        (f"cama(layer=1;table={one})", "no layer 0"),
    ):
        with pytest.raises(UserError, match=reason):
            apply(model, spec, processor)

"""``attn_implementation="lmms_causal"`` against ``sdpa``: kernels, caches, padding, delegation."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, StaticCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import (
    causal_mask_function,
    sdpa_mask,
    sliding_window_causal_mask_function,
)

import lmms_causal.attention_backend
from lmms_causal.interventions import apply
from lmms_causal.interventions.attention import backend
from lmms_causal.interventions.attention.sight import Sight, seen
from lmms_causal.testing import Prompt, encode, family, picture, save

NAME = lmms_causal.attention_backend.NAME
FAMILIES = ("llama", "qwen2", "mistral", "gemma2", "llava", "qwen2_5_vl", "gemma3")
TEXTS = ("Is it red?", "Which of the two was first, and why?", "Why?")
STEPS = 14  # beyond the windows of the tiny models


class Both:
    """One tiny model twice: as transformers runs it, and through our kernels."""

    def __init__(self, name, model, processor):
        self.plain, self.ours = copy.deepcopy(model), copy.deepcopy(model)
        self.ours.set_attn_implementation(NAME)
        self.processor = processor
        shown = [(picture(1),), (picture(2, 60, 44),), (picture(3),)]
        sees = family(name).kind == "vision"
        self.prompts = [Prompt(t, p if sees else ()) for t, p in zip(TEXTS, shown, strict=True)]

    def inputs(self, *rows):
        chosen = [self.prompts[row] for row in rows] if rows else self.prompts
        return dict(encode(self.processor, chosen))


@pytest.fixture
def both(tiny):
    return lambda name: Both(name, *tiny(name))


def answered(model, inputs, **options):
    return model.generate(
        **inputs,
        max_new_tokens=STEPS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )


def same(found, wanted, rows=slice(None)):
    assert torch.equal(found.sequences[:, -STEPS:], wanted.sequences[rows, -STEPS:])
    for ours, theirs in zip(found.logits, wanted.logits, strict=True):
        torch.testing.assert_close(ours, theirs[rows], atol=5e-5, rtol=1e-4)


@pytest.fixture
def kernels(monkeypatch):
    """Counts calls that the kernels compute, and those that are delegated, by class of module."""
    counted = {"ours": 0, "delegated": []}
    through, delegated = backend.through_kernels, backend._delegated

    def count(*args, **kwargs):
        counted["ours"] += 1
        return through(*args, **kwargs)

    def note(module, *args):
        counted["delegated"].append(type(module).__name__)
        return delegated(module, *args)

    monkeypatch.setattr(backend, "through_kernels", count)
    monkeypatch.setattr(backend, "_delegated", note)
    return counted


@pytest.mark.parametrize("name", FAMILIES)
def test_a_padded_batch_is_answered_as_by_sdpa_and_as_its_rows(name, both, kernels):
    case = both(name)
    batch = case.inputs()
    assert (batch["attention_mask"] == 0).any()
    wanted = answered(case.plain, batch)
    assert kernels["ours"] == 0
    found = answered(case.ours, batch)
    same(found, wanted)
    text = case.ours.config.get_text_config()
    assert kernels["ours"] == STEPS * text.num_hidden_layers, "every layer of every pass"
    assert all(
        "Vision" in kind or "CLIP" in kind or "Siglip" in kind for kind in kernels["delegated"]
    )
    assert bool(kernels["delegated"]) == (family(name).kind == "vision")
    for row in range(3):
        same(answered(case.ours, case.inputs(row)), found, slice(row, row + 1))
    same(answered(case.ours, batch, use_cache=False), found)
    beams = answered(case.plain, batch, num_beams=2).sequences
    assert torch.equal(answered(case.ours, batch, num_beams=2).sequences, beams)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
def test_static_caches_and_prompts_in_pieces(name, both):
    case = both(name)
    batch = case.inputs()
    wanted = answered(case.plain, batch)
    same(answered(case.ours, batch, cache_implementation="static"), wanted)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    cache = StaticCache(config=case.ours.config, max_cache_len=64)
    with torch.no_grad():
        whole = case.plain(**batch).logits
        for first in range(0, ids.shape[1], 9):
            piece = slice(first, min(first + 9, ids.shape[1]))
            found = case.ours(
                input_ids=ids[:, piece],
                attention_mask=mask[:, : piece.stop],
                position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, piece],
                past_key_values=cache,
            ).logits
            real = mask[:, piece].bool()
            torch.testing.assert_close(found[real], whole[:, piece][real], atol=5e-5, rtol=1e-4)


def test_padding_on_the_right_and_its_content_have_no_effect(both):
    case = both("llama")
    batch = case.inputs()
    ids, mask = batch["input_ids"].flip(1), batch["attention_mask"].flip(1)
    real = mask.bool()
    with torch.no_grad():
        wanted = case.plain(input_ids=ids, attention_mask=mask).logits
        for filling in (3, 17):
            filled = torch.where(real, ids, filling)
            found = case.ours(input_ids=filled, attention_mask=mask).logits
            torch.testing.assert_close(found[real], wanted[real], atol=5e-5, rtol=1e-4)


def test_nothing_behind_a_token_has_an_effect(both):
    case = both("mistral")
    ids = case.inputs(1)["input_ids"]
    other = ids.clone()
    other[:, 20:] = 9
    with torch.no_grad():
        one, two = case.ours(input_ids=ids).logits, case.ours(input_ids=other).logits
    assert torch.equal(one[:, :20], two[:, :20])
    assert not torch.equal(one[:, 20:], two[:, 20:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 5])
def test_the_function_is_sdpa_on_what_is_not_padding(dtype, window):
    torch.manual_seed(3)
    q, k = torch.randn(3, 4, 11, 8).to(dtype), torch.randn(3, 2, 16, 8).to(dtype)
    padding = torch.ones(3, 16, dtype=torch.bool)
    padding[1, :7], padding[2] = False, False
    function = causal_mask_function
    if window:
        function = sliding_window_causal_mask_function(window)
    arguments = {"batch_size": 3, "q_length": 11, "kv_length": 16, "q_offset": 5}
    arguments |= {"mask_function": function, "attention_mask": padding}
    sight = seen(sdpa_mask)(**arguments)
    module = torch.nn.Module()
    module.num_key_value_groups = 2
    found, _ = backend.attend(module, q, k, k, sight, scaling=0.3)
    wide = (x.double() for x in (q, k, k))
    wanted, _ = sdpa_attention_forward(module, *wide, sdpa_mask(**arguments), scaling=0.3)
    close = {"atol": 2e-6, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 2e-2, "rtol": 0.0}
    real = padding[:, 5:]
    torch.testing.assert_close(found[real].double(), wanted[real], **close)
    assert torch.equal(found[~real], torch.zeros_like(found[~real])), "padding gets nothing"


def test_gradients_dropout_and_prepared_masks_are_delegated(both, kernels):
    case = both("llama")
    inputs = case.inputs(0)
    case.ours.train()
    case.ours(**inputs).logits.sum().backward()
    case.ours.eval()
    case.plain(**inputs).logits.sum().backward()
    weight = "model.layers.0.self_attn.q_proj.weight"
    found, wanted = (dict(m.named_parameters())[weight].grad for m in (case.ours, case.plain))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    length = inputs["input_ids"].shape[1]
    prepared = torch.ones(1, 1, length, length, dtype=torch.bool).tril() & ~torch.eye(length).bool()
    prepared[..., 0, 0] = True
    with torch.no_grad():
        both_ways = [
            m(input_ids=inputs["input_ids"], attention_mask=prepared).logits
            for m in (case.ours, case.plain)
        ]
    assert torch.equal(*both_ways)
    assert kernels["ours"] == 0


def test_a_soft_cap_has_gradients_that_do_not_see_ahead(both):
    case = both("gemma2")
    inputs = case.inputs(0)
    torch.testing.assert_close(
        case.ours(**inputs).logits, case.plain(**inputs).logits, atol=5e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "auto"), [("qwen2", AutoModelForCausalLM), ("llava", AutoModelForImageTextToText)]
)
def test_a_checkpoint_is_loaded_with_it(name, auto, tmp_path, available):
    save(available(name), tmp_path)
    model = auto.from_pretrained(tmp_path, attn_implementation=NAME)
    assert model.config.get_text_config()._attn_implementation == NAME


def test_the_mask_of_a_pass_is_no_tensor(both, monkeypatch):
    case = both("llama")
    given = []
    through = backend.through_kernels

    def look(query, key, value, sight, **options):
        given.append(sight)
        return through(query, key, value, sight, **options)

    monkeypatch.setattr(backend, "through_kernels", look)
    answered(case.ours, case.inputs())
    assert all(isinstance(sight, Sight) and "mask" not in sight._made for sight in given)


def test_an_edited_prompt_makes_no_mask_either(both, monkeypatch):
    case = both("llava")
    made = []
    monkeypatch.setattr(Sight, "dense", lambda self: made.append(self))
    spec = "sparse(pattern=window[9])+pai(alpha=0.5;gamma=1)+knockout(queries=question;keys=image)"
    with apply(case.ours, spec, case.processor):
        answered(case.ours, case.inputs())
    assert not made


SPECS = (
    "sparse(pattern=window[9/sink=2])+pai(alpha=0.5)",
    "vcd(beta=0)",
    "pai(alpha=0.5)",
    "knockout(queries=predicting;keys=image)",
    "vhr",
    "act",
    "head_ablate(heads=0.1)",
)


@pytest.mark.parametrize("spec", SPECS)
def test_edits_of_attention_are_the_same_on_top_of_it(spec, both):
    case = both("llava")
    batch = case.inputs()
    with apply(case.plain, spec, case.processor):
        wanted = answered(case.plain, batch)
    with apply(case.ours, spec, case.processor):
        found = answered(case.ours, batch)
    same(found, wanted)
    assert case.ours.config.get_text_config()._attn_implementation == NAME


def test_position_invariant_attention_on_top_of_it(both):
    from lmms_causal.interventions.parts import PromptParts

    case = both("llama")
    ids = torch.tensor([[5, 9, 13, 30, 31, 32, 33, 7, 21, 11, 17, 40]])
    parts = [PromptParts(turn=(1, 12), segments=(((3, 5), (5, 8)),))]
    found = []
    for model in (case.plain, case.ours):
        with apply(model, "pine", case.processor) as handle, handle.request(parts=parts):
            found.append(answered(model, {"input_ids": ids}))
    same(*found)

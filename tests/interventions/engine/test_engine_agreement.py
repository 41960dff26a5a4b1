"""Cached and uncached, batched and single, expanded and not: all ways of running agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lmms_causal.interventions import apply
from lmms_causal.testing import Prompt, encode, names, picture

SPEC = "vcd(alpha=1.5;beta=0.1;without_image=skip)"
SHARP = "vcd(alpha=1.5;beta=0;without_image=skip)"  # no cutoff: every logit can be compared
MIXED = [
    Prompt("Is it red?", (picture(1, 64, 30),)),
    Prompt("Which of the two was first, and why?", (picture(2, 30, 30), picture(3, 40, 64))),
    Prompt("No picture here."),
]
REPRESENTATIVE = ["llava_next", "qwen2_5_vl", "qwen3_vl", "idefics3", "gemma3"]


def answer(model: Any, inputs: Any, **arguments: Any) -> Tensor:
    settings = {"max_new_tokens": 5, "do_sample": False, **arguments}
    torch.manual_seed(11)
    return model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]


@pytest.mark.parametrize("name", names("vision"))
def test_cache_changes_no_token(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, MIXED)
    with apply(model, SPEC):
        assert torch.equal(answer(model, inputs), answer(model, inputs, use_cache=False))


@pytest.mark.parametrize("name", REPRESENTATIVE)
@pytest.mark.parametrize(
    "decoding",
    [
        {"num_beams": 3},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "num_return_sequences": 3, "top_k": 0},
        {"do_sample": True, "num_beams": 2},
    ],
    ids=["beams", "several_beams", "several_samples", "sampled_beams"],
)
def test_cache_changes_no_token_of_expanded_batches(tiny, name, decoding):
    model, processor = tiny(name)
    inputs = encode(processor, MIXED)
    with apply(model, SPEC):
        cached = answer(model, inputs, **decoding)
        assert torch.equal(cached, answer(model, inputs, use_cache=False, **decoding))
    assert cached.shape[0] == len(MIXED) * decoding.get("num_return_sequences", 1)
    assert not torch.equal(cached, answer(model, inputs, **decoding))


@pytest.mark.parametrize("name", names("vision"))
def test_row_of_a_left_padded_batch_equals_its_single_run(tiny, name):
    model, processor = tiny(name)
    batch = encode(processor, MIXED)
    assert (batch["attention_mask"] == 0).any(), "the rows must differ in length"
    # 1e-5 in the logits of either branch, amplified by 1 + 2 alpha = 4
    with apply(model, SHARP), torch.no_grad():
        tokens = answer(model, batch)
        logits = model(**batch).logits
        for row, prompt in enumerate(MIXED):
            single = encode(processor, [prompt])
            assert answer(model, single)[0].tolist() == tokens[row].tolist()
            expected = model(**single).logits[0].float()
            result = logits[row, -len(expected) :]
            torch.testing.assert_close(result, expected, atol=4e-5, rtol=1e-5)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_beams_of_a_row_do_not_depend_on_its_batch(tiny, name):
    model, processor = tiny(name)
    with apply(model, SPEC):
        together = answer(model, encode(processor, MIXED), num_beams=3)
        for row, prompt in enumerate(MIXED):
            alone = answer(model, encode(processor, [prompt]), num_beams=3)
            assert alone[0].tolist() == together[row].tolist()


@pytest.mark.parametrize("name", names("vision"))
def test_rows_without_image_are_exactly_factual_beside_rows_with_one(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, MIXED)
    with torch.no_grad():
        plain_logits, plain = model(**inputs).logits, answer(model, inputs)
        with apply(model, SPEC):
            logits, tokens = model(**inputs).logits, answer(model, inputs)
    assert torch.equal(logits[2], plain_logits[2])
    assert torch.equal(tokens[2], plain[2])
    assert not torch.equal(logits[0], plain_logits[0])
    assert not torch.equal(logits[1], plain_logits[1])


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "internvl"])
def test_order_of_a_batch_does_not_matter(tiny, name):
    model, processor = tiny(name)
    with apply(model, SPEC):
        forward = answer(model, encode(processor, MIXED))
        backward = answer(model, encode(processor, MIXED[::-1]))
    assert torch.equal(forward, backward.flip(0))


def test_repeated_runs_are_identical(tiny):
    model, processor = tiny("qwen3_vl")
    inputs = encode(processor, MIXED)
    with apply(model, SPEC), torch.no_grad():
        runs = [(answer(model, inputs), model(**inputs).logits) for _ in range(2)]
    assert torch.equal(runs[0][0], runs[1][0]) and torch.equal(runs[0][1], runs[1][1])


def test_seed_of_the_noise_changes_the_contrast(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, MIXED[:1])
    logits = []
    for seed in (0, 1):
        with apply(model, f"vcd(seed={seed})"), torch.no_grad():
            logits.append(model(**inputs).logits)
    assert not torch.equal(*logits)

"""What the engine refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tr

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply
from lmms_causal.testing import Prompt, build, encode, names, picture

PROMPT = Prompt("Is it red?", (picture(1),))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("assistant_model", "model"),
        ("prompt_lookup_num_tokens", 3),
        ("assistant_early_exit", 1),
        ("prefill_chunk_size", 8),
        ("custom_generate", lambda *args, **kwargs: None),
        ("guidance_scale", 1.5),
        ("cache_implementation", "static"),
        ("cache_implementation", "quantized"),
        ("past_key_values", tr.DynamicCache()),
        ("mm_encoder_outputs", {}),
    ],
)
def test_unsupported_ways_of_generating_are_refused_by_name(tiny, argument, value):
    model, processor = tiny("llava")
    inputs = encode(processor, [PROMPT])
    value = model if value == "model" else value
    with apply(model, "vcd"), pytest.raises(UserError, match=argument) as error:
        model.generate(**inputs, max_new_tokens=2, **{argument: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("cache_implementation", "static"), ("prefill_chunk_size", 8), ("guidance_scale", 2.0)],
)
def test_unsupported_settings_in_a_generation_config_are_refused_too(tiny, setting, value):
    model, processor = tiny("llava")
    inputs = encode(processor, [PROMPT])
    config = tr.GenerationConfig(max_new_tokens=2, **{setting: value})
    with apply(model, "vcd"), pytest.raises(UserError, match=setting):
        model.generate(**inputs, generation_config=config)


def test_generation_config_that_turns_the_cache_off_is_obeyed(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, [PROMPT])
    config = tr.GenerationConfig(max_new_tokens=3, use_cache=False, return_dict_in_generate=True)
    with apply(model, "vcd"):
        output = model.generate(**inputs, generation_config=config)
        cached = model.generate(**inputs, max_new_tokens=3)
    assert output.past_key_values is None
    assert torch.equal(output.sequences, cached)


@pytest.mark.parametrize("implementation", ["hybrid", "dynamic"])
def test_checkpoint_that_names_the_default_cache_is_accepted(implementation):
    # Gemma 2 and 3 checkpoints carry "hybrid", which transformers takes for the default.
    model, processor = build("gemma3")
    inputs = encode(processor, [PROMPT])
    with apply(model, "vcd"):
        expected = model.generate(**inputs, max_new_tokens=4)
        model.generation_config.cache_implementation = implementation
        assert torch.equal(model.generate(**inputs, max_new_tokens=4), expected)


def test_features_in_place_of_pixels_are_refused(tiny):
    model, processor = tiny("llava")
    inputs = dict(encode(processor, [PROMPT]))
    features = model.base_model.get_image_features(inputs.pop("pixel_values"), return_dict=True)
    with apply(model, "vcd"), pytest.raises(UserError, match="pass pixel_values"):
        model(**inputs, mm_encoder_outputs={"image": features})


def test_placeholder_without_a_picture_counts_as_no_image(tiny):
    model, processor = tiny("llava")
    inputs = processor.tokenizer(["What does <image> mean?"], return_tensors="pt")
    with apply(model, "vcd"), pytest.raises(UserError, match="without_image=skip"):
        model.generate(**inputs, max_new_tokens=2)
    plain = model.generate(**inputs, max_new_tokens=2)
    with apply(model, "vcd(without_image=skip)"):
        assert torch.equal(model.generate(**inputs, max_new_tokens=2), plain)


def test_forward_pass_with_a_foreign_cache_is_refused(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, [PROMPT])
    with apply(model, "vcd"), pytest.raises(UserError, match="cache of its own"):
        model(**inputs, past_key_values=tr.DynamicCache())


def test_labels_are_refused_because_the_loss_would_be_the_factual_one(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, [PROMPT])
    with apply(model, "vcd"), pytest.raises(UserError, match="loss"):
        model(**inputs, labels=inputs["input_ids"])


def test_encoder_decoder_model_is_refused_before_anything_is_changed():
    config = tr.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=11)
    model = tr.T5ForConditionalGeneration(config)
    with pytest.raises(UserError, match=r"T5ForConditionalGeneration is an encoder-decoder"):
        apply(model, "vcd")
    assert "forward" not in model.__dict__


def test_model_without_generate_is_refused():
    config = tr.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    with pytest.raises(UserError, match=r"BertModel .*generat"):
        apply(tr.BertModel(config), "vcd")


def test_model_with_another_kind_of_cache_is_refused():
    config = tr.MambaConfig(hidden_size=8, num_hidden_layers=1, vocab_size=11, state_size=2)
    with pytest.raises(UserError, match=r"MambaForCausalLM .*past_key_values"):
        apply(tr.MambaForCausalLM(config), "vcd(alpha=0)")


def test_second_intervention_on_a_model_is_refused(tiny):
    model, _ = tiny("llava")
    with apply(model, "vcd"):
        with pytest.raises(UserError, match="carries an intervention already"):
            apply(model, "vcd(alpha=2)")
        assert apply(model, "none").plan == Plan()


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "idefics3"])
def test_prompt_without_image_is_refused_by_default(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, [Prompt("Is it red?")])
    with apply(model, "vcd"):
        for run in (lambda: model(**inputs), lambda: model.generate(**inputs, max_new_tokens=2)):
            with pytest.raises(UserError, match="without_image=skip"):
                run()


@pytest.mark.parametrize("name", names("text"))
def test_model_without_eyes_is_refused_at_once_where_a_picture_is_needed(tiny, name):
    model, _ = tiny(name)
    with pytest.raises(UserError, match=r"needs a picture, and the model reads text only"):
        apply(model, "vcd")
    apply(model, "vcd(without_image=skip)").remove()


def test_one_prompt_without_image_in_a_batch_is_refused_by_default(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, [PROMPT, Prompt("And without?")])
    with apply(model, "vcd"), pytest.raises(UserError, match="found one without"):
        model.generate(**inputs, max_new_tokens=2)


@pytest.mark.parametrize("name", names("text"))
def test_cutoff_alone_works_on_text_models(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, [Prompt("Is it red?"), Prompt("Why did the cup fall?")])
    arguments: dict[str, Any] = {"max_new_tokens": 6, "return_dict_in_generate": True}
    plain = model.generate(**inputs, output_logits=True, **arguments)
    with apply(model, "vcd(alpha=0;beta=0.3)"), torch.no_grad():
        cut = model.generate(**inputs, output_logits=True, **arguments)
        torch.manual_seed(3)
        sampled = model.generate(**inputs, output_logits=True, do_sample=True, **arguments)
        scored = model(**inputs).logits
    assert torch.equal(cut.sequences, plain.sequences), "greedy answers must not change"
    for step, (logits, stock) in enumerate(zip(cut.logits, plain.logits, strict=True)):
        kept = stock.softmax(-1) >= 0.3 * stock.softmax(-1).amax(-1, keepdim=True)
        assert torch.equal(logits.isfinite(), kept), step
        assert torch.equal(logits[kept], stock[kept])
    length = inputs["input_ids"].shape[1]
    for step, logits in enumerate(sampled.logits):
        drawn = logits.gather(1, sampled.sequences[:, length + step, None])
        assert drawn.isfinite().all()
    assert scored.isfinite().all()


def test_return_type_of_a_forward_pass_is_the_one_asked_for(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, [PROMPT])
    with apply(model, "vcd"), torch.no_grad():
        output = model(**inputs)
        parts = model(**inputs, return_dict=False)
    assert isinstance(parts, tuple)
    assert torch.equal(parts[0], output.logits)


def test_positional_arguments_are_understood(tiny):
    model, processor = tiny("llava")
    inputs = dict(encode(processor, [PROMPT]))
    with apply(model, "vcd"), torch.no_grad():
        expected = model(**inputs).logits
        answer = model.generate(**inputs, max_new_tokens=2)
        ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values")
        assert torch.equal(model(ids, pixels, **inputs).logits, expected)
        assert torch.equal(
            model.generate(ids, pixel_values=pixels, max_new_tokens=2, **inputs), answer
        )


def test_a_model_that_was_built_but_never_used_can_be_intervened_on():
    model, processor = build("qwen2_vl")
    inputs = encode(processor, [PROMPT])
    with apply(model, "vcd"):
        first = model.generate(**inputs, max_new_tokens=3)
        assert torch.equal(model.generate(**inputs, max_new_tokens=3), first)

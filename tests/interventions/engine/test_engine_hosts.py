"""Models as harnesses load them: half precision, accelerate's hooks, PEFT adapters, eager."""

from __future__ import annotations

import copy
from typing import Any

import accelerate
import peft
import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply
from lmms_causal.interventions.edits.logits import plausible
from lmms_causal.interventions.methods.vcd import VCD
from lmms_causal.testing import Prompt, build, encode, names, picture

PROMPTS = [
    Prompt("Is it red?", (picture(1),)),
    Prompt("Which of them fell first?", (picture(2, 64, 30),)),
]
SPEC = "vcd(alpha=1.5;beta=0.1)"


def answer(model: Any, inputs: Any) -> Tensor:
    return model.generate(**inputs, max_new_tokens=5, do_sample=False)


@pytest.mark.parametrize("name", names("vision"))
def test_half_precision_logits_are_combined_in_float32(tiny, name):
    model, processor = tiny(name)
    half = copy.deepcopy(model).to(torch.bfloat16)
    inputs = encode(processor, PROMPTS).to(torch.bfloat16)
    with torch.no_grad():
        factual = half(**inputs).logits.float()
        noised = half(**{**inputs, **VCD().noised(inputs)}).logits.float()
    with apply(half, SPEC), torch.no_grad():
        logits = half(**inputs).logits
        output = half.generate(
            **inputs,
            max_new_tokens=3,
            do_sample=True,
            output_logits=True,
            return_dict_in_generate=True,
        )
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    kept = plausible(factual, 0.1)
    expected = 2.5 * factual - 1.5 * noised
    torch.testing.assert_close(logits[kept], expected[kept], atol=1e-5, rtol=1e-5)
    for step in output.logits:
        assert step.dtype == torch.float32
        assert step.isfinite().any(dim=-1).all() and not step.isnan().any()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_implementation_changes_nothing_but_rounding(tiny, implementation):
    model, processor = tiny("llava")
    inputs = encode(processor, PROMPTS)
    with apply(model, SPEC):
        expected = answer(model, inputs)
    other = copy.deepcopy(model)
    other.set_attn_implementation(implementation)
    with apply(other, SPEC):
        assert torch.equal(answer(other, inputs), expected)


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
def test_hooks_of_accelerate_keep_working_inside_and_after(name):
    model, processor = build(name)
    inputs = encode(processor, PROMPTS)
    plain = answer(model, inputs)
    with apply(model, SPEC):
        expected = answer(model, inputs)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    hooked = model.forward
    assert next(model.parameters()).is_meta, "the weights must be offloaded for this test"
    with apply(model, SPEC) as handle:
        assert torch.equal(answer(model, inputs), expected)
        assert handle.forward_passes == 2 * 2 * 5
    assert model.forward is hooked
    assert "generate" not in model.__dict__
    assert torch.equal(answer(model, inputs), plain)


def test_device_map_is_supported_and_restored(tmp_path):
    import transformers as tr

    from lmms_causal.testing import save

    directory = save("llava", tmp_path)
    model = tr.AutoModelForImageTextToText.from_pretrained(directory, device_map={"": "cpu"})
    processor = tr.AutoProcessor.from_pretrained(directory)
    inputs = encode(processor, PROMPTS)
    reference, _ = build("llava")
    with apply(reference, SPEC), apply(model, SPEC):
        assert torch.equal(answer(model, inputs), answer(reference, inputs))
    assert torch.equal(answer(model, inputs), answer(reference, inputs))


def lora(model: Any) -> Any:
    torch.manual_seed(5)
    config = peft.LoraConfig(
        r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False
    )
    return peft.get_peft_model(model, config).eval()


def test_adapters_are_part_of_both_branches():
    model, processor = build("llava")
    inputs = encode(processor, PROMPTS)
    with apply(model, SPEC), torch.no_grad():
        without = model(**inputs).logits
    adapted = lora(model)
    plain = answer(adapted, inputs)
    with apply(adapted, SPEC) as handle, torch.no_grad():
        logits = adapted(**inputs).logits
        tokens = answer(adapted, inputs)
    assert handle.forward_passes == 2 * 2 + 2 * 2 * 5
    assert not torch.equal(logits, without)
    merged = adapted.merge_and_unload()
    with apply(merged, SPEC), torch.no_grad():
        torch.testing.assert_close(merged(**inputs).logits, logits, atol=1e-3, rtol=1e-3)
        assert torch.equal(answer(merged, inputs), tokens)
    assert torch.equal(answer(merged, inputs), plain)
    assert not torch.equal(plain, tokens)


def test_prompt_tuning_is_refused():
    model, _ = build("llama")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(UserError, match="prompt"):
        apply(peft.get_peft_model(model, config), "vcd(alpha=0)")

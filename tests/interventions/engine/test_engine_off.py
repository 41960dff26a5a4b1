"""Off is absent: bit for bit the stock model, before, beside and after an intervention."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lmms_causal.interventions import Plan, apply
from lmms_causal.interventions.plan import Branch, Increment
from lmms_causal.testing import Prompt, encode, family, names, picture

DECODING = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 1.0, "top_k": 0},
    "beams": {"do_sample": False, "num_beams": 3},
}
NEUTRAL = [None, "none", "vcd(alpha=0;beta=0)", "re2", "re2(times=3)", Plan()]


def prompts(name: str) -> list[Prompt]:
    pictures = (picture(1),) if family(name).kind == "vision" else ()
    return [Prompt("Is it red?", pictures), Prompt("What happened because of the wind?", pictures)]


def answers(model: Any, inputs: Any) -> list[torch.Tensor]:
    """Logits of a forward pass, and tokens and raw logits of all ways of decoding."""
    with torch.no_grad():
        results = [model(**inputs).logits]
    for arguments in DECODING.values():
        torch.manual_seed(7)
        output = model.generate(
            **inputs,
            max_new_tokens=4,
            output_logits=True,
            return_dict_in_generate=True,
            **arguments,
        )
        results += [output.sequences, *output.logits]
    return results


def assert_bit_identical(results: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(results) == len(expected)
    for result, stock in zip(results, expected, strict=True):
        assert result.dtype == stock.dtype
        assert torch.equal(result, stock)


@pytest.mark.parametrize("name", names())
def test_neutral_plans_and_removed_interventions_leave_the_stock_model(tiny, name):
    model, processor = tiny(name)
    state = dict(model.__dict__)
    batches = [encode(processor, prompts(name)), encode(processor, prompts(name)[:1])]
    stock = [answers(model, inputs) for inputs in batches]
    with apply(model, "vcd(alpha=0;beta=0)+re2"):
        assert model.__dict__ == state
        for inputs, expected in zip(batches, stock, strict=True):
            assert_bit_identical(answers(model, inputs), expected)
    with apply(model, "vcd(alpha=2;beta=0.5;without_image=skip)"):
        intervened = answers(model, batches[0])
    assert model.__dict__ == state
    assert_bit_identical(answers(model, batches[0]), stock[0])
    changed = any(
        not torch.equal(result, expected)
        for result, expected in zip(intervened, stock[0], strict=True)
    )
    assert changed is (family(name).kind == "vision"), "vcd must act where there is an image"


@pytest.mark.parametrize("neutral", NEUTRAL, ids=str)
def test_every_neutral_plan_installs_nothing(tiny, neutral):
    model, _ = tiny("llava")
    state = dict(model.__dict__)
    handle = apply(model, neutral)
    assert model.__dict__ == state
    handle.remove()
    assert model.__dict__ == state


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "gemma3", "qwen2"])
def test_prompts_without_image_are_bit_identical_when_skipped(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, [Prompt("Is it red?"), Prompt("What fell because of the wind?")])
    stock = answers(model, inputs)
    with apply(model, "vcd(without_image=skip)"):
        assert_bit_identical(answers(model, inputs), stock)


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "idefics3"])
def test_nothing_is_left_behind_by_an_exception_inside(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, prompts(name))
    stock = answers(model, inputs)
    steps = iter(range(2))

    def broken(signals):
        if next(steps) == 1:
            raise RuntimeError("inside the second step")
        return signals.factual - signals.branches["same"]

    branch = Branch("same", media=lambda inputs: {})
    plan = Plan((branch,), (Increment("broken", broken, branches=("same",)),))
    with pytest.raises(RuntimeError, match="second step"), apply(model, plan):
        model.generate(**inputs, max_new_tokens=4)
    assert not {"forward", "generate"} & model.__dict__.keys()
    assert_bit_identical(answers(model, inputs), stock)


def test_a_failed_generation_does_not_disturb_the_next_one(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, prompts("llava"))
    with apply(model, "vcd"):
        expected = model.generate(**inputs, max_new_tokens=4)
        scored = model(**inputs).logits
        with pytest.raises(ValueError, match="not_an_argument"):
            model.generate(**inputs, max_new_tokens=4, not_an_argument=1)
        assert torch.equal(model.generate(**inputs, max_new_tokens=4), expected)
        assert torch.equal(model(**inputs).logits, scored)


def test_handle_can_be_removed_twice_and_installed_again(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, prompts("llava"))
    results = []
    for _ in range(2):
        handle = apply(model, "vcd")
        results.append(model(**inputs).logits)
        handle.remove()
        handle.remove()
        assert "forward" not in model.__dict__
    assert torch.equal(*results)


def test_replaced_methods_keep_their_signature_and_documentation(tiny):
    import inspect

    model, _ = tiny("llava")
    forward, generate = inspect.signature(model.forward), inspect.signature(model.generate)
    documentation = model.generate.__doc__
    with apply(model, "vcd"):
        assert inspect.signature(model.forward) == forward
        assert inspect.signature(model.generate) == generate
        assert model.generate.__doc__ == documentation

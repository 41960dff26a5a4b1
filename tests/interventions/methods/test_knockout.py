"""Knock-out: the edges named are closed, no others, and a token that sees nothing gets nothing."""

from __future__ import annotations

import math

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse
from lmms_causal.interventions.attention.observing import observing
from lmms_causal.testing import Prompt, encode, picture

IDS = torch.tensor([[5, 9, 13, 30, 31, 32, 33, 7, 21, 11, 17, 40]])
STEPS = 3


def by_hand(call, closed):
    """Outputs ``[B, q, H, d]`` in float64 of one call without some pairs ``[H, q, n]``."""
    groups = call.query.shape[1] // call.key.shape[1]
    outputs = torch.zeros(call.query.shape, dtype=torch.float64)
    length, count = call.query.shape[2], call.key.shape[2]
    for head in range(call.query.shape[1]):
        key = call.key[0, head // groups].double()
        value = call.value[0, head // groups].double()
        for row in range(length):
            seen = [
                j for j in range(count - length + row + 1) if not closed[head, row, j]
            ]  # causal, then closed
            if seen:
                scores = [float(call.query[0, head, row].double() @ key[j]) for j in seen]
                weights = (torch.tensor(scores, dtype=torch.float64) * call.scale).softmax(0)
                outputs[0, head, row] = weights @ value[seen]
    return outputs.transpose(1, 2)


def test_generation_closes_the_edges_named_in_the_layers_and_heads_named(tiny):
    """Layer 1, heads 0 and 3 of 4 (two key heads), 5-8 hidden from the tokens that predict."""
    model, processor = tiny("llama")
    spec = "knockout(queries=predicting;keys=5-8;layers=1;heads=0|3)"
    calls = []
    with (
        apply(model, spec, processor) as handle,
        observing(handle.adapter.attention, lambda layer, call: calls.append((layer, call))),
    ):
        model.generate(input_ids=IDS, max_new_tokens=STEPS, do_sample=False)
    assert [layer for layer, _ in calls] == [0, 1] * STEPS
    for layer, call in calls:
        length, count = call.query.shape[2], call.key.shape[2]
        closed = torch.zeros(4, length, count, dtype=torch.bool)
        if layer == 1:
            closed[[0, 3], -1, 5:9] = True
        torch.testing.assert_close(
            call.output.double(), by_hand(call, closed), atol=1e-5, rtol=1e-5
        )
    plain = model.generate(
        input_ids=IDS, max_new_tokens=1, output_logits=True, return_dict_in_generate=True
    )
    assert math.isfinite(float(plain.logits[0].sum()))


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
def test_tokens_that_see_nothing_get_nothing(family, tiny):
    model, processor = tiny(family)
    calls = []
    with (
        apply(model, "knockout(queries=4-6|generated;keys=all)", processor) as handle,
        observing(handle.adapter.attention, lambda layer, call: calls.append(call)),
    ):
        made = model.generate(
            input_ids=IDS,
            max_new_tokens=STEPS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    assert all(it.isfinite().all() for it in made.logits)
    for number, call in enumerate(calls):
        output = call.output[0]
        if number < 2:  # the prompt, two layers
            assert torch.equal(output[4:7], torch.zeros_like(output[4:7]))
            assert (output[[3, 7]].abs().amax(dim=(1, 2)) > 0).all()
        else:
            assert torch.equal(output, torch.zeros_like(output))


def test_an_image_that_no_word_sees_may_be_any_image(tiny):
    model, processor = tiny("llava")
    spec = "knockout(queries=!image;keys=image)"
    answers = []
    for number in (1, 2):
        inputs = dict(encode(processor, [Prompt("Is it red?", (picture(number),))]))
        with (
            apply(model, spec, processor) as handle,
            torch.no_grad(),
            handle.request(prompt_length=inputs["input_ids"].shape[1]),
        ):
            answers.append(model(**inputs).logits[:, -1])
    assert torch.equal(*answers)
    assert not torch.equal(answers[0], model(**inputs).logits[:, -1])


def test_a_batch_with_padding_equals_its_rows(tiny):
    model, processor = tiny("qwen2_5_vl")
    prompts = [Prompt("Is it red?", (picture(1),)), Prompt("Which of the two?", (picture(2, 80),))]
    spec = "knockout(queries=predicting;keys=image|question;heads=1|2)"
    with apply(model, spec, processor) as handle, torch.no_grad():
        batch = dict(encode(processor, prompts))
        with handle.request(prompt_length=batch["input_ids"].shape[1]):
            both = model(**batch).logits[:, -1]
        for row, prompt in enumerate(prompts):
            inputs = dict(encode(processor, [prompt]))
            with handle.request(prompt_length=inputs["input_ids"].shape[1]):
                one = model(**inputs).logits[0, -1]
            torch.testing.assert_close(both[row], one, atol=1e-5, rtol=1e-5)


def test_a_text_that_is_scored_must_say_where_its_answer_begins(tiny):
    model, processor = tiny("llama")
    with (
        apply(model, "knockout", processor),
        pytest.raises(UserError, match="where the answer begins"),
    ):
        model(input_ids=IDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("queries=end", "queries=end names tokens by"),
        ("keys=9-5", "keys=9-5 names tokens by"),
        ("heads=1.", "heads=1. names heads as"),
        ("layers=a", "layers=a must be a range"),
    ],
)
def test_bad_parameters_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(f"knockout({arguments})")

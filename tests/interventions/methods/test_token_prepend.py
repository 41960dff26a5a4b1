"""Token prepending: the placeholder is the first word, and holds the last token's state."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.spans import QUESTION, TURN
from lmms_causal.interventions.methods.token_prepend import TokenPrepend, overwritten
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.models.parts import parts_of
from lmms_causal.models.prompts import Encoder
from lmms_causal.testing import family as family_of
from lmms_causal.testing import names, picture

IDS = torch.tensor([[5, 9, 13, 30, 31, 32, 7, 21]])
PARTS = [PromptParts((2, 6))]


def asked(processor, family, question):
    """A host's prompt of one question, its model inputs, and where its parts are."""
    tokenizer = getattr(processor, "tokenizer", processor)
    encoder = Encoder(tokenizer, None if tokenizer is processor else processor, None, 4)
    shown = [{"type": "image", "image": picture(2)}] if family_of(family).kind == "vision" else []
    turn = {"role": "user", "content": [*shown, {"type": "text", "text": question}]}
    prompt = encoder.render([turn], "task/0/0")
    inputs = encoder.encode([prompt])
    return inputs, [parts_of(encoder, prompt, inputs["input_ids"][0].tolist(), ())]


@pytest.mark.parametrize("family", names())
def test_the_placeholder_is_the_first_token_of_the_question(family, tiny):
    model, processor = tiny(family)
    adapter = ModelAdapter.of(model, processor)
    inputs, parts = asked(processor, family, TokenPrepend().prepended("Is it red?"))
    layout = Layout.of(inputs, adapter, parts, None)
    question = inputs["input_ids"][0][(QUESTION & TURN).resolve(layout)[0]]
    text = adapter.tokenizer.decode(question)
    assert text.strip().startswith("Summary: Is it red?")
    assert "Summary:".startswith(adapter.tokenizer.decode(question[0]).strip())
    assert adapter.tokenizer.decode(question[0]).strip()


@torch.no_grad()
def found(model, processor, spec, **inputs):
    with apply(model, spec, processor) as handle, handle.request(parts=PARTS, prompt_length=8):
        return model(**inputs).logits


@torch.no_grad()
def by_hooks(model, layers):
    """The stock model with column 2 overwritten by the last one before some layers."""

    def overwrite(module, given, named):
        states = (given[0] if given else named["hidden_states"]).clone()
        states[:, 2] = states[:, 7]
        return (
            ((states, *given[1:]), named) if given else (given, {**named, "hidden_states": states})
        )

    hooks = [
        model.get_decoder().layers[layer].register_forward_pre_hook(overwrite, with_kwargs=True)
        for layer in layers
    ]
    try:
        return model(IDS).logits
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi"])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 2), (1, 2)])
def test_layers_and_places_by_hand(start, end, family, tiny):
    model, processor = tiny(family)
    spec = f"token_prepend(start={start};end={end})"
    result = found(model, processor, spec, input_ids=IDS)
    wanted = by_hooks(model, range(start, end))
    torch.testing.assert_close(result, wanted, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        plain = model(IDS).logits
    assert torch.equal(result[:, :2], plain[:, :2]), "what stands before it is as it was"
    assert (result[:, -1] - plain[:, -1]).abs().max() > 1e-3


def test_decoding_steps_are_as_usual(tiny):
    model, processor = tiny("llama")
    with apply(model, "token_prepend", processor) as handle, handle.request(parts=PARTS):
        options = {"max_new_tokens": 4, "do_sample": False, "output_logits": True}
        options["return_dict_in_generate"] = True
        cached = model.generate(IDS, **options)
        whole = model.generate(IDS, **options, use_cache=False)
    for a, b in zip(cached.logits, whole.logits, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_rows_of_a_batch_and_rows_without_a_question():
    """Rows have placeholders of their own; the first token of a row is never overwritten."""
    roles = torch.tensor(
        [[-1, -1, 0, 1, 1, 3], [0, 0, 1, 1, 3, 3], [-1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 3]],
        dtype=torch.int8,
    )
    layout = Layout(roles, torch.zeros_like(roles, dtype=torch.int32))
    columns = torch.arange(6)
    where = Coordinates(1, columns[None], columns[None], (), layout, columns, columns)
    states = torch.arange(24.0).reshape(4, 6, 1)
    wanted = states.clone()
    wanted[0, 3], wanted[1, 2] = states[0, 5], states[1, 5]
    assert torch.equal(overwritten(states, where), wanted)
    late = Coordinates(1, columns[None], columns[None], (), layout.extended(7), columns[5:] + 1)
    assert torch.equal(overwritten(states[:, :1], late), states[:, :1])


@pytest.mark.parametrize(
    ("depth", "layers"), [(32, range(1, 7)), (28, range(1, 6)), (2, range(1, 2)), (4, range(1, 2))]
)
def test_layers_follow_the_depth(depth, layers):
    assert TokenPrepend().layers(depth) == layers
    assert TokenPrepend(start=2, end=9).layers(depth) == range(2, 9)


def test_no_layers_are_nothing(runs):
    assert parse("token_prepend(start=3;end=3)").plan() == Plan()
    runs("llama").is_untouched_by("token_prepend(start=0;end=0)")


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("token_prepend(word= )", "word"),
        ("token_prepend(start=-1)", "start=-1"),
        ("token_prepend(end=0)", "end=0"),
    ],
)
def test_bad_values_are_named(spec, names):
    with pytest.raises(UserError, match=f"intervention token_prepend: {names}"):
        parse(spec)


def test_what_a_model_lacks(tiny):
    model, processor = tiny("llama")
    with pytest.raises(UserError, match="start and end=1-6 goes beyond its 2 decoder layers"):
        apply(model, "token_prepend(end=7)", processor)

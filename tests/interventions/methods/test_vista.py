"""Visual steering: the authors' injection and augmentation, on stock models by hand."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.methods.vista import Vista, late_layers, steer
from lmms_causal.interventions.plan import Signals
from lmms_causal.testing import Prompt, names, picture

X, V = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[0.0, 2.0]]])


@pytest.mark.parametrize(
    ("vector", "strength", "expected"),
    [
        (V, 0.1, [2.773501, 4.160251]),
        (V, 0.17, [2.630264, 4.252260]),
        (-V, 0.1, [3.477107, 3.593011]),
        (-V, 0.17, [3.860023, 3.178085]),
        (-V, 0.5, [4.931970, -0.821995]),
    ],
)
def test_injection_of_the_worked_example_keeps_the_length(vector, strength, expected):
    result = steer(X, vector, strength)
    torch.testing.assert_close(result[0, 0], torch.tensor(expected), atol=1e-5, rtol=0)
    assert result.norm().item() == pytest.approx(5, rel=1e-6)


def test_what_has_no_direction_is_left_exactly_as_it_is():
    states = torch.randn(2, 3, 5)
    states[1, 1] = 0
    vectors = torch.stack([torch.zeros(1, 5), torch.ones(1, 5)])
    result = steer(states, vectors, 0.3)
    assert torch.equal(result[0], states[0])
    assert torch.equal(result[1, 1], states[1, 1])
    assert not torch.equal(result[1, 0], states[1, 0])
    opposite = torch.tensor([[[-2.0, 0.0]]])  # strength 0.5, doubled: nothing would be left of it
    assert torch.equal(steer(opposite, torch.tensor([[[1.0, 0.0]]]), 0.5), opposite)


def test_augmentation_of_the_worked_example():
    layers = {0: torch.tensor([[[1.0, 3, 0]]]), 1: torch.tensor([[[0.0, 2, 1]]])}
    factual = torch.tensor([[[2.0, 1, 0]]])
    signals = Signals(factual, {}, None, 3, lambda layer, _: layers[layer], (0,), False)
    result = factual + Vista(gamma=0.3, window="0-1").increment(signals)
    torch.testing.assert_close(result[0, 0], torch.tensor([1.55, 1.45, 0.15]))


def test_window_is_the_released_one_at_its_depth_and_never_the_last_layer():
    assert list(late_layers(32)) == [25, 26, 27, 28, 29, 30]
    assert list(late_layers(40)) == list(range(31, 39))
    assert [list(late_layers(depth)) for depth in (2, 3, 4)] == [[0], [1], [2]]


@torch.no_grad()
def steered_by_hand(run, inputs, tokens, strength, gamma, normalise=False) -> Tensor:
    """Logits ``[V]``: two readings of the prompt, then one with hooks on the stock model."""
    model = run.model
    layers = model.get_decoder().layers
    states: list[dict[int, Tensor]] = []
    for given in (inputs, run.without_pictures(inputs)):
        seen: dict[int, Tensor] = {}

        def keep(layer, _, output, seen=seen):
            seen[list(layers).index(layer)] = output[:, -1]

        with ExitStack() as stack:
            for layer in layers:
                stack.callback(layer.register_forward_hook(keep).remove)
            model(**given)
        states.append(seen)

    def push(index):
        v = states[0][index] - states[1][index]

        def hook(_, __, x):
            s = 1 + torch.cosine_similarity(x, -v, dim=-1).clamp(min=0)[..., None]
            y = x / x.norm(dim=-1, keepdim=True) + strength * s * v / v.norm()
            return x.norm(dim=-1, keepdim=True) * y / y.norm(dim=-1, keepdim=True)

        # a window that is shorter than the question hides the picture from the first layer
        return hook if v.norm() > 1e-4 else lambda _, __, x: x

    early: list[Tensor] = []
    with ExitStack() as stack:
        for index, layer in enumerate(layers):
            stack.callback(layer.mlp.register_forward_hook(push(index)).remove)
        keep_first = layers[0].register_forward_hook(lambda _, __, output: early.append(output))
        stack.callback(keep_first.remove)
        final = model(**run.appended(inputs, [tokens])).logits[0, -1]
    state = early[0][0, -1]
    late = model.get_output_embeddings()(model.get_decoder().norm(state) if normalise else state)
    return (1 - gamma) * final + gamma * late


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "qwen3_vl", "gemma3"])
@pytest.mark.parametrize("normalise", [False, True])
def test_generation_and_scoring_equal_the_method_by_hand(runs, family, normalise):
    run = runs(family)
    run.follows(
        f"vista(strength=0.4;gamma=0.3;normalise={normalise})",
        lambda factual, inputs, tokens: steered_by_hand(run, inputs, tokens, 0.4, 0.3, normalise),
    )


@pytest.mark.parametrize("family", names("vision"))
def test_all_ways_of_running_agree_beside_rows_without_a_picture(runs, family):
    run = runs(family)
    run.prompts[2] = Prompt("No picture here?")
    run.agrees("vista(strength=0.4;gamma=0.3;without_image=skip)")


@pytest.mark.parametrize("family", ["llava", "qwen3_vl", "gemma3"])
def test_rows_without_a_picture_are_left_bit_for_bit(runs, family):
    run = runs(family)
    inputs = run.inputs(Prompt("Is it red?", (picture(1),)), Prompt("No picture here, is there?"))
    length = inputs["input_ids"].shape[1]
    with torch.no_grad():
        plain = run.model(**inputs).logits
        for part in ("strength=0", "gamma=0", "strength=0.1"):
            with (
                apply(run.model, f"vista({part};without_image=skip)") as handle,
                handle.request(prompt_length=length),
            ):
                found = run.model(**inputs).logits
            assert torch.equal(found[1], plain[1])
            assert not torch.equal(found[0], plain[0])


@pytest.mark.parametrize("part", ["strength=0", "gamma=0", "strength=0.1"])
def test_rows_without_a_picture_are_refused_otherwise(runs, part):
    run = runs("llava")
    inputs = run.inputs(Prompt("No picture here, is there?"))
    with (
        apply(run.model, f"vista({part})"),
        pytest.raises(UserError, match="needs an image in every prompt"),
    ):
        run.model.generate(**inputs, max_new_tokens=1)
    with pytest.raises(UserError, match="needs a picture, and the model reads text only"):
        apply(runs("llama").model, f"vista({part})")


def test_text_models_are_left_alone_with_skip(runs):
    run = runs("llama")
    plain = run.generate(run.inputs())
    with apply(run.model, "vista(without_image=skip)"):
        assert torch.equal(run.generate(run.inputs()), plain)


def test_neutral_settings_are_absent(runs):
    assert parse("vista(strength=0;gamma=0)").plan() == Plan()
    runs("llava").is_untouched_by("vista(strength=0;gamma=0)")


def test_prompt_is_read_twice_more_and_a_token_costs_one_pass(runs):
    run = runs("llava")
    with apply(run.model, "vista") as handle:
        run.generate(run.inputs())
    assert handle.forward_passes == 3 * (2 + 4)


def test_hooks_are_gone_after_an_error(runs):
    run = runs("llava")
    inputs = run.inputs()
    plain = run.generate(inputs)
    with apply(run.model, "vista"), pytest.raises(RuntimeError, match="stop"):
        broken = run.model.lm_head.register_forward_pre_hook(_stop)
        try:
            run.generate(inputs)
        finally:
            broken.remove()
    assert torch.equal(run.generate(inputs), plain)


def _stop(*_):
    raise RuntimeError("stop")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vista(strength=-1)", "strength=-1.0 must be 0 or more, and finite"),
        ("vista(gamma=2)", r"gamma=2.0 must lie in 0\.\.1"),
        ("vista(window=late)", "window=late must be a range of layers such as 25-30"),
        ("vista(window=9-3)", "window=9-3 must be a range of layers"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)


def test_window_beyond_the_model_is_refused_with_its_depth(tiny):
    model, processor = tiny("llava")
    with pytest.raises(UserError, match="window=25-30 goes beyond its 2 decoder layers"):
        apply(model, "vista(window=25-30)", processor)

"""ACT: the worked example, its definition in every pass, and the authors' lists of heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.attention import explicit
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.cells import Cells, Part
from lmms_causal.interventions.attention.heads import Heads
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.observing import observing
from lmms_causal.interventions.methods.act import ACT, calibrated_layers
from lmms_causal.testing import Prompt, encode, picture

IDS = torch.tensor([[5, 9, 13, 30, 31, 32, 33, 7, 21, 11, 17, 40]])
STEPS = 4
ROWS = (
    (1, 0, 0, 0, 0),
    (0.7, 0.3, 0, 0, 0),
    (0.5, 0.1, 0.4, 0, 0),
    (0.45, 0.05, 0.4, 0.1, 0),
    (0.4, 0.05, 0.35, 0.1, 0.1),
)


def call_with(weights, padding=0):
    """A call of one head whose weights are given ``[N, N]``, behind some padding."""
    length = len(weights)
    scores = torch.tensor(weights, dtype=torch.float64).log().clamp(min=-1e30)
    width = length + padding
    key = torch.zeros(1, 1, width, length, dtype=torch.float64)
    key[0, 0, padding:] = scores.T
    query = torch.zeros_like(key)
    query[0, 0, padding:] = torch.eye(length, dtype=torch.float64)
    mask = torch.ones(width, width, dtype=torch.bool).tril()
    mask[:, :padding] = False
    options = {"scaling": 1.0}
    return Call(nn.Module(), query, key, key, mask[None, None], options, None, True)


def calibrated(weights, method, padding=0):
    """The weights ``[N, N]`` after one method's plan."""
    plan = method.plan()
    call = call_with(weights, padding)
    roles = torch.ones(1, len(weights) + padding, dtype=torch.int8)
    roles[:, :padding] = -1
    layout = Layout(roles, torch.zeros_like(roles, dtype=torch.int32))
    part = Part(slice(0, 1), {}, torch.tensor([padding]), None, (0,), layout)
    rows = torch.arange(len(weights) + padding)
    found = explicit.weights(call, plan.attention, Cells(part, 2, call), rows, torch.tensor([0]))
    return found[0, 0, padding:, padding:]


@pytest.mark.parametrize("padding", [0, 3])
def test_the_worked_example(padding):
    found = calibrated(ROWS, ACT(threshold=0.25), padding)
    expected = torch.tensor(ROWS, dtype=torch.float64)
    expected[2, :3] = torch.tensor([0.7, 0.14, 0.16])
    expected[3, :4] = torch.tensor([0.63, 0.07, 0.16, 0.14])
    expected[4] = torch.tensor([0.5292, 0.0662, 0.14, 0.1323, 0.1323])
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(5, dtype=torch.float64))
    assert found[0].tolist() == [1, 0, 0, 0, 0]


def test_it_is_a_bias_that_depends_on_the_row():
    biases = torch.tensor([-0.9163, -0.9163, -1.2528, -1.2528, -1.1963], dtype=torch.float64)
    scores = call_with(ROWS).scores(slice(None))[0, 0]
    scores[:, 2] += biases
    shown = torch.ones(5, 5, dtype=torch.bool).tril()
    expected = scores.masked_fill(~shown, -torch.inf).softmax(dim=1)
    torch.testing.assert_close(calibrated(ROWS, ACT(threshold=0.25)), expected, atol=5e-5, rtol=0)


def test_the_first_token_is_no_sink_whatever_it_gets():
    """At 0.12, tokens 0 (.61), 1 (.125) and 2 (.383) are above; at 0.62 none is."""
    found = calibrated(ROWS, ACT(threshold=0.12))
    assert torch.equal(found[:, 0] >= torch.tensor(ROWS)[:, 0], torch.ones(5, dtype=torch.bool))
    assert found[4, 1] == pytest.approx(0.4 * 0.05)
    assert found[4, 2] == pytest.approx(0.4 * 0.35)
    plain = torch.tensor(ROWS, dtype=torch.float64)
    torch.testing.assert_close(calibrated(ROWS, ACT(threshold=0.62)), plain)
    # without weight on the first token, parity spares the first sink that there is
    shifted = [list(row) for row in ROWS]
    shifted[0] = [1, 0, 0, 0, 0]
    for row in shifted[1:]:
        row[0], row[1] = 0.02, row[0] + row[1] - 0.02
    ours = calibrated(shifted, ACT(threshold=0.3))
    theirs = calibrated(shifted, ACT(threshold=0.3, parity=True))
    assert ours[4, 1] == pytest.approx(0.4 * 0.43)
    assert ours[4, 2] == pytest.approx(0.4 * 0.35)
    assert theirs[4, 1] > 0.43, "the first sink, token 1, is spared and gains"
    assert theirs[4, 2] == pytest.approx(0.4 * 0.35)


def test_a_row_with_all_of_its_weight_on_sinks_stays():
    rows = [list(row) for row in ROWS]
    rows[4] = [0, 0, 1, 0, 0]
    found = calibrated(rows, ACT(threshold=0.25))
    assert found.isfinite().all()
    torch.testing.assert_close(found[4], torch.tensor(rows[4], dtype=torch.float64))
    assert found[3, 2] == pytest.approx(0.16)


def test_a_threshold_by_length():
    """5 / 5 is above every mean; 0.75 / 5 = 0.15 is what 0.15 is."""
    by_length = calibrated(ROWS, ACT(alpha_over_n=0.75), padding=2)
    assert torch.equal(by_length, calibrated(ROWS, ACT(threshold=0.15), padding=2))
    plain = torch.tensor(ROWS, dtype=torch.float64)
    torch.testing.assert_close(calibrated(ROWS, ACT(alpha_over_n=5)), plain)


def sinks_of(weights, prompt, threshold):
    """Sinks ``[H, prompt]`` of a prompt's weights ``[H, N, N]``, the first token apart."""
    square = weights[:, :prompt, :prompt]
    mean = square.sum(dim=1) / torch.arange(prompt, 0, -1)
    sinks = mean > threshold
    sinks[:, 0] = False
    return sinks


def by_hand(weights, sinks, beta):
    """Weights ``[H, q, n]`` row by row."""
    found = weights.clone()
    for head in range(len(weights)):
        columns = sinks[head].nonzero()[:, 0]
        for row in range(weights.shape[1]):
            mass = weights[head, row, columns].sum()
            found[head, row] *= 1 + (1 - beta) * mass / (1 - mass)
            found[head, row, columns] = beta * weights[head, row, columns]
    return found


@pytest.mark.parametrize("use_cache", [True, False])
def test_the_sinks_of_the_prompt_are_kept_while_decoding(use_cache, tiny):
    model, processor = tiny("llama")
    prompt, calls = IDS.shape[1], []
    spec = "act(threshold=0.12;layers=1;heads=0|2-3)"
    with (
        apply(model, spec, processor) as handle,
        observing(handle.adapter.attention, lambda layer, call: calls.append((layer, call))),
    ):
        model.generate(input_ids=IDS, max_new_tokens=STEPS, do_sample=False, use_cache=use_cache)
    calls = [call for layer, call in calls if layer == 1]
    assert len(calls) == STEPS
    sinks = sinks_of(calls[0].weights(slice(None))[0].double(), prompt, 0.12)
    sinks[1] = False  # head 1 is not named
    assert sinks[[0, 2, 3]].any(), "the example must have sinks"
    for call in calls:
        plain = call.weights(slice(None))[0].double()
        expected = by_hand(plain, sinks, 0.4) @ call.value[0].double().repeat_interleave(2, dim=0)
        torch.testing.assert_close(
            call.output[0].double(), expected.transpose(0, 1), atol=1e-5, rtol=1e-4
        )


def test_the_sinks_of_a_scored_text_do_not_depend_on_its_answer(tiny):
    model, processor = tiny("llama")
    prompt = IDS.shape[1]
    longer = [torch.cat([IDS, torch.tensor([tail])], dim=1) for tail in ([50, 51], [60, 61])]
    with apply(model, "act(threshold=0.12)", processor) as handle, torch.no_grad():
        with handle.request(prompt_length=prompt):
            found = [model(input_ids=ids).logits[:, :prompt] for ids in longer]
            alone = model(input_ids=IDS).logits
        torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=0)
        torch.testing.assert_close(found[0], alone, atol=1e-5, rtol=1e-5)
        with pytest.raises(UserError, match="where the answer begins"):
            model(input_ids=IDS)
    assert (alone - model(input_ids=IDS).logits).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma2"])
def test_a_batch_with_padding_equals_its_rows(family, tiny):
    model, processor = tiny(family)
    shown = () if family == "gemma2" else (picture(1),)
    prompts = [Prompt("Is it red?", shown), Prompt("Which of the two was first, and why?", shown)]
    with apply(model, "act(threshold=0.1)", processor) as handle, torch.no_grad():

        def last(inputs):
            with handle.request(prompt_length=inputs["input_ids"].shape[1]):
                return model(**inputs).logits[:, -1]

        both = last(dict(encode(processor, prompts)))
        for row, prompt in enumerate(prompts):
            one = last(dict(encode(processor, [prompt])))
            torch.testing.assert_close(both[row], one[0], atol=1e-5, rtol=1e-5)


def test_neutral_settings_are_no_intervention():
    for neutral in ("beta=1", "threshold=1", "threshold=1.5;beta=0"):
        assert parse(f"act({neutral})").plan() == Plan()


def test_steering_and_calibration_in_either_order_are_the_same(tiny):
    model, processor = tiny("llama")
    found = []
    for spec in ("act(threshold=0.1)+pasta(alpha=0.3)", "pasta(alpha=0.3)+act(threshold=0.1)"):
        with (
            apply(model, spec, processor) as handle,
            torch.no_grad(),
            handle.request(prompt_length=IDS.shape[1]),
        ):
            found.append(model(input_ids=IDS).logits)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "count", "layers"),
    [
        ("llama2-7b-chat/classification", 184, (2, 30)),
        ("llama2-7b-chat/multiple_choice", 74, (2, 30)),
        ("llama2-7b-chat/mt_bench", 25, (2, 30)),
        ("mistral-7b-instruct-v0.2/classification", 16, (2, 31)),
        ("mistral-7b-instruct-v0.2/multiple_choice", 104, (2, 31)),
    ],
)
def test_the_authors_lists(name, count, layers):
    method = ACT(heads=name)
    selected = method.selected()
    assert len(selected.heads.by_layer) == count
    assert (selected.layers[0], selected.layers[-1]) == layers
    assert selected.heads.everywhere == frozenset()
    assert max(head for _, head in selected.heads.by_layer) < 32
    edit = method.plan().attention[0]
    meant = edit.where.of(32)
    assert set(meant) == {layer for layer, _ in selected.heads.by_layer if layer <= layers[1]}
    assert ACT(heads=name, layers="4-6").plan().attention[0].where.of(32) == [
        layer for layer in (4, 5, 6) if selected.heads.of(layer)
    ]


def test_layers_by_default():
    assert list(calibrated_layers(32)) == list(range(2, 31))
    assert list(calibrated_layers(4)) == [2]
    assert list(calibrated_layers(2)) == [0, 1]
    assert ACT(heads="3.1|8.0").plan().attention[0].where.of(8) == [3]
    assert ACT(heads="3.1|7.0").plan().attention[0].where.heads == Heads.of_layers({3: [1], 7: [0]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("beta=1.5", "beta=1.5 must lie in 0..1"),
        ("threshold=0", "threshold=0.0 must be above 0"),
        ("alpha_over_n=-5", "alpha_over_n=-5.0 must be above 0"),
        ("threshold=0.1;alpha_over_n=5", "are two thresholds; name one"),
        (
            "heads=llama2-7b-chat/clasification",
            "is no list of the authors' .did you mean 'llama2-7b-chat/classification'",
        ),
        ("heads=1,x", r"heads=1\|x names heads as"),
    ],
)
def test_bad_parameters_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(f"act({arguments})")


def test_a_list_for_another_model_is_refused(tiny):
    model, processor = tiny("llama")
    with pytest.raises(UserError, match="layers=2-30 goes beyond its 2 decoder layers"):
        apply(model, "act(heads=llama2-7b-chat/classification)", processor)

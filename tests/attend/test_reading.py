"""What is read off a running model, against what the model itself says in explicit attention."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lmms_causal.attend.analyses.suppression import final_states
from lmms_causal.attend.reading import Wanted, head_outputs, read
from lmms_causal.attend.traces import PARTS
from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, parse, registry
from lmms_causal.interventions.analysis.retrieval import retrieval_scores
from lmms_causal.interventions.attention.edits import (
    AttentionEdit,
    Bias,
    Calibrate,
    Close,
    Gain,
    HeadReplace,
    HeadScale,
    Replace,
    Scale,
    Segments,
    Uniform,
    Where,
)
from lmms_causal.interventions.attention.heads import Heads
from lmms_causal.interventions.attention.spans import IMAGE, PREDICTING, TURN, tokens
from lmms_causal.kernels.column_statistics import ColumnMeans
from lmms_causal.kernels.statistics import Masses, Selected, Strongest
from lmms_causal.testing import names


@torch.no_grad()
def eager_weights(subject, trace) -> Tensor:
    """Weights ``[L, H, n, n]`` as transformers' explicit attention returns them."""
    configs = {id(it.config): it.config for it in subject.adapter.attention}.values()
    saved = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation_internal = "eager"
        found = subject.model(**trace.inputs, use_cache=False, output_attentions=True).attentions
    finally:
        for config, name in zip(configs, saved, strict=True):
            config._attn_implementation_internal = name
    return torch.stack([layer[0] for layer in found])


def every_weight(trace) -> dict[str, Wanted]:
    return {"weights": Wanted(lambda: Selected(torch.arange(trace.length)))}


def edited_by(subject, *edits):
    return replace(subject, plan=Plan(attention=edits))


@pytest.mark.parametrize("family", names())
def test_weights_are_those_of_explicit_attention_in_every_family(family, subject, asked, answer):
    one = subject(family)
    trace = one.trace(asked(family, response=answer))
    parts = trace.parts[None]
    found = read(
        one,
        trace,
        {
            **every_weight(trace),
            "masses": Wanted(lambda: Masses(parts, len(PARTS)), trace.predicting),
            "received": Wanted(lambda: ColumnMeans(sums=True)),
        },
    )
    expected = eager_weights(one, trace)
    torch.testing.assert_close(found["weights"], expected, atol=2e-6, rtol=1e-4)
    member = torch.nn.functional.one_hot(trace.parts, len(PARTS)).float()
    torch.testing.assert_close(
        found["masses"], expected[:, :, trace.predicting] @ member, atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(found["received"], expected.sum(dim=2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llava", "gemma2"])
def test_reading_leaves_the_model_as_it_was(family, subject, asked, answer):
    one = subject(family)
    trace = one.trace(asked(family, response=answer))
    configured = [it.config._attn_implementation for it in one.adapter.attention]
    with torch.no_grad():
        before = one.model(**trace.inputs).logits
        read(edited_by(one, AttentionEdit(Bias(1.0), Where(keys=TURN))), trace, every_weight(trace))
        assert torch.equal(one.model(**trace.inputs).logits, before)
    assert [it.config._attn_implementation for it in one.adapter.attention] == configured
    assert not {"forward", "generate"} & one.model.__dict__.keys()


def test_masses_under_a_bias_are_in_closed_form_in_the_first_layer(subject, asked, answer):
    one = subject("llava")
    trace = one.trace(asked("llava", response=answer))
    image = trace.parts == PARTS.index("image")
    plain = read(one, trace, every_weight(trace))["weights"][0]
    biased = edited_by(one, AttentionEdit(Bias(1.5), Where(keys=IMAGE)))
    found = read(biased, trace, every_weight(trace))["weights"]
    before = plain[..., image].sum(-1)
    gain = torch.tensor(1.5).exp()
    expected = gain * before / (1 + (gain - 1) * before)
    torch.testing.assert_close(found[0][..., image].sum(-1), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.sum(-1), torch.ones_like(found.sum(-1)))
    closed = edited_by(one, AttentionEdit(Close(), Where(keys=IMAGE)))
    hidden = read(closed, trace, every_weight(trace))["weights"]
    outside = ~image
    assert not hidden[:, :, outside][..., image].any()


def test_edits_of_one_layer_are_seen_in_that_layer_and_felt_in_the_next(subject, asked, answer):
    one = subject("llama")
    trace = one.trace(asked("llama", response=answer))
    flat = AttentionEdit(Replace(lambda w, allowed, where: allowed / allowed.sum(-1, keepdim=True)))
    only = replace(flat, where=Where(layers=lambda depth: [0]))
    plain = read(one, trace, every_weight(trace))["weights"]
    found = read(edited_by(one, only), trace, every_weight(trace))["weights"]
    uniform = torch.ones(trace.length, trace.length).tril()
    torch.testing.assert_close(found[0, 2], uniform / uniform.sum(-1, keepdim=True))
    assert (found[1] - plain[1]).abs().max() > 0.01


def test_what_a_head_puts_out_is_what_the_output_projection_reads(subject, asked, answer):
    one = subject("qwen2_5_vl")
    trace = one.trace(asked("qwen2_5_vl", response=answer))
    seen = {}

    def keep(layer):
        return lambda module, given: seen.update({layer: given[0][0]})

    hooks = [
        module.o_proj.register_forward_pre_hook(keep(layer))
        for layer, module in enumerate(one.adapter.attention)
    ]
    try:
        found = head_outputs(one, trace, picture=True)
        for layer, output in enumerate(found):
            assert torch.equal(output.flatten(1), seen[layer][trace.predicting])
        silent = edited_by(one, AttentionEdit(HeadScale(0.0)))
        assert not any(it.any() for it in head_outputs(silent, trace, picture=True))
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3"])
def test_without_the_picture_heads_say_what_they_say_to_the_words_alone(family, subject, asked):
    one = subject(family)
    trace = one.trace(asked(family, response="It is red."))
    told = head_outputs(one, trace, picture=False)
    shown = head_outputs(one, trace, picture=True)
    assert all(a.shape == b.shape for a, b in zip(told, shown, strict=True))
    ids = trace.ids.tolist()
    gone = set(one.adapter.visual_tokens) | one.adapter.markers
    words = torch.tensor([[token for token in ids if token not in gone]])
    alone = one.trace(asked(family, images=(), response="It is red."))
    same = alone.ids.tolist() == words[0].tolist()
    inputs = alone.inputs if same else {"input_ids": words, "attention_mask": words * 0 + 1}
    twin = replace(alone, inputs=inputs, start=words.shape[1] - (trace.length - trace.start))
    for ours, theirs in zip(told, head_outputs(one, twin, picture=True), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "llava", "gemma3"])
def test_hiding_a_sentence_leaves_everything_before_it_bit_for_bit(family, subject, asked, answer):
    one = subject(family)
    trace = one.trace(asked(family, response=answer))
    start, stop = trace.sentences[3].tokens
    nothing = final_states(one, trace, tokens(trace.length, trace.length))
    hidden = final_states(one, trace, tokens(start, stop - 1))
    assert torch.equal(nothing[:start], hidden[:start])
    assert (nothing[stop:] - hidden[stop:]).abs().max() > 1e-2
    with torch.no_grad():
        logits = one.model(**trace.inputs, use_cache=False).logits[0]
    torch.testing.assert_close(one.adapter.read(nothing, False), logits, atol=1e-4, rtol=1e-4)


def test_hiding_is_closing_the_columns_of_the_mask(subject, asked, answer):
    one = subject("llama")
    trace = one.trace(asked("llama", response=answer))
    start, stop = trace.sentences[2].tokens
    mask = torch.ones(trace.length, trace.length, dtype=torch.bool).tril()
    mask[:, start:stop] = False
    with torch.no_grad():
        logits = one.model(
            input_ids=trace.inputs["input_ids"], attention_mask=mask[None, None], use_cache=False
        ).logits[0]
    found = one.adapter.read(final_states(one, trace, tokens(start, stop - 1)), False)
    torch.testing.assert_close(found, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "llava"])
def test_one_pass_over_the_answer_sees_what_each_step_of_writing_it_saw(family, subject, asked):
    """Greatest weights of the pass, against those of generation with a cache."""
    one = subject(family)
    trace = one.trace(asked(family), max_new_tokens=8)
    assert trace.length - trace.start >= 4, "the tiny model must not end its answer at once"
    strongest = read(one, trace, {"s": Wanted(Strongest, trace.predicting)})["s"]
    steps = []
    with torch.no_grad():
        seen = one.model(
            **{
                k: v[:, : trace.start] if v.shape[:2] == (1, trace.length) else v
                for k, v in trace.inputs.items()
            },
            use_cache=True,
        )
        cache, expected = seen.past_key_values, []
        for column in range(trace.start, trace.length):
            expected.append(int(seen.logits[0, -1].argmax()))
            steps.append(column)
            seen = one.model(
                input_ids=trace.inputs["input_ids"][:, column : column + 1],
                past_key_values=cache,
                use_cache=True,
            )
    assert trace.ids[trace.written].tolist() == expected, "the answer is the greedy one"
    weights = eager_weights(one, trace)[:, :, trace.predicting]
    top = weights.topk(2, dim=-1)
    clear = top.values[..., 0] - top.values[..., 1] > 1e-4
    assert clear.float().mean() > 0.9
    assert torch.equal(strongest[clear], top.indices[..., 0][clear])
    scores = retrieval_scores(strongest, trace.ids[trace.written], trace.ids, (0, trace.length))
    assert scores.shape == strongest.shape[:2]


def test_what_is_not_one_pass_over_one_text_is_refused(subject):
    for spec, reason in (
        ("re2+best_of_n(n=2)", "more than one question"),
        ("pine", "places segments anew"),
    ):
        with pytest.raises(UserError, match=reason):
            subject("llama", spec)


EDITS = {
    "bias": AttentionEdit(Bias(1.5), Where(keys=TURN)),
    "gain": AttentionEdit(Gain(0.7), Where(keys=TURN, queries=PREDICTING)),
    "close": AttentionEdit(Close(), Where(keys=TURN, heads=Heads(frozenset({1})))),
    "scale": AttentionEdit(Scale(0.3, renormalise=False), Where(keys=TURN)),
    "uniform": AttentionEdit(Uniform(), Where(heads=Heads(frozenset({0, 3})))),
    "calibrate": AttentionEdit(Calibrate(0.4, 0.08)),
}


def mixed(one, trace):
    """For each layer edited weights times values, and what the heads put out, ``[T, H, d]``."""
    values = {}

    def keep(layer):
        return lambda module, given, output: values.update({layer: output[0]})

    hooks = [
        module.v_proj.register_forward_hook(keep(layer))
        for layer, module in enumerate(one.adapter.attention)
    ]
    try:
        outputs = head_outputs(one, trace, picture=True)
    finally:
        for hook in hooks:
            hook.remove()
    weights = read(one, trace, every_weight(trace))["weights"]
    for layer, output in enumerate(outputs):
        value = values[layer].unflatten(-1, (2, -1)).transpose(0, 1).repeat_interleave(2, dim=0)
        yield (weights[layer] @ value).transpose(0, 1)[trace.predicting], output


@pytest.mark.parametrize("edits", [(name,) for name in EDITS] + [("bias", "calibrate", "close")])
def test_edited_weights_are_the_ones_that_mix_the_values(edits, subject, asked, answer):
    one = edited_by(subject("llama"), *(EDITS[name] for name in edits))
    trace = one.trace(asked("llama", response=answer))
    plain = read(subject("llama"), trace, every_weight(trace))["weights"]
    found = read(one, trace, every_weight(trace))["weights"]
    assert (found - plain).abs().max() > 0.01, "the edit has an effect"
    for ours, output in mixed(one, trace):
        torch.testing.assert_close(ours, output, atol=1e-5, rtol=1e-4)


def edits_weights(name):
    """Whether a method edits the weights of the factual pass, and not what heads put out."""
    outer = (HeadScale, HeadReplace, Segments)
    operations = [it.operation for it in parse(registry.example(name)).plan().attention]
    return operations and not any(isinstance(it, outer) for it in operations)


@pytest.mark.parametrize("name", [name for name in registry.names() if edits_weights(name)])
def test_under_every_method_that_edits_attention_its_weights_are_read(name, subject, asked, answer):
    try:
        one = subject("llava", registry.example(name))
        trace = one.trace(asked("llava", response=answer))
        pairs = list(mixed(one, trace))
    except UserError as error:
        assert "cannot be analysed" in str(error)  # edits by what another prompt shows
        assert any(it.probe for it in one.plan.attention)
        return
    for ours, output in pairs:
        torch.testing.assert_close(ours, output, atol=1e-5, rtol=1e-4)

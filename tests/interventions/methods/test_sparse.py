"""Sparse attention: masks written by hand, layer by layer, and what holds of every pattern."""

from __future__ import annotations

import copy

import pytest
import torch

import lmms_causal.attention_backend
from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.observing import observing
from lmms_causal.interventions.attention.regions import regions, with_pictures
from lmms_causal.interventions.engine.guards import obstacle
from lmms_causal.interventions.methods.sparse import Sparse, looks_ahead, named_regions
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.kernels.patterns import Region
from lmms_causal.kernels.patterns.spec import parse_pattern
from lmms_causal.testing import Prompt, encode, picture, video

NAME = lmms_causal.attention_backend.NAME
IDS = torch.tensor([[5, 9, 13, 30, 31, 32, 33, 7, 21, 11, 17, 40, 8, 19, 22, 6, 35, 41]])


def by_hand(sees, layers=(0, 1)):
    """A change of eager attention: in some layers a query sees what ``sees(head, i, j)`` says."""

    def change(layer, scores, seen):
        if layer not in layers:
            return scores, seen
        heads, queries, keys = scores.shape[1:]
        own = [[[sees(h, i, j) for j in range(keys)] for i in range(queries)] for h in range(heads)]
        return scores, torch.tensor(own)[None]

    return change


def last_logits(model, inputs):
    with torch.no_grad():
        return model(**inputs, use_cache=False).logits


CASES = {
    "window[4/sink=2]": (lambda h, i, j: j <= i and (i - j < 4 or j < 2), (0, 1)),
    "window[3]@": (lambda h, i, j: 0 <= i - j < 3, (1,)),
    "power[block=2/window=1]": (
        lambda h, i, j: j <= i and (i // 2 - j // 2 in (0, 1, 2, 4, 8) or j < 2),
        (0, 1),
    ),
    "s2[block=2/local=2/stride=4]": (  # 2 key heads of 4 query heads
        lambda h, i, j: j <= i and (i // 2 - j // 2 < 2 or (j // 2 + h // 2) % 4 == 0),
        (0, 1),
    ),
}


@pytest.mark.parametrize("implementation", ["sdpa", "eager", NAME])
@pytest.mark.parametrize("pattern", CASES)
def test_each_layer_sees_what_the_formula_says(pattern, implementation, tiny, rewritten):
    sees, layers = CASES[pattern]
    model, processor = tiny("llama")
    model = copy.deepcopy(model)
    text = "causal+window[3]@1" if pattern.endswith("@") else pattern
    with rewritten(model, by_hand(sees, layers)) as written:
        wanted = last_logits(written, {"input_ids": IDS})
    model.set_attn_implementation(implementation)
    plain = last_logits(model, {"input_ids": IDS})
    with apply(model, f"sparse(pattern={text})", processor) as handle:
        with handle.request(prompt_length=IDS.shape[1]):
            found = last_logits(model, {"input_ids": IDS})
        # read in the cache token by token what was read at once
        made = model.generate(
            input_ids=IDS[:, :9],
            max_new_tokens=9,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    torch.testing.assert_close(found, wanted, atol=5e-5, rtol=1e-4)
    assert (found - plain).abs().max() > 1e-2
    with rewritten(model, by_hand(sees, layers)) as written:
        for step, logits in enumerate(made.logits):
            again = last_logits(written, {"input_ids": made.sequences[:, : 9 + step]})[:, -1]
            torch.testing.assert_close(logits, again, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("implementation", ["sdpa", NAME])
def test_a_picture_sees_neighbours_and_the_question(implementation, tiny, rewritten):
    """LLaVA: 16 tokens of a picture, 4 by 4; its layers read them as ``neighborhood | mutual``."""
    model, processor = tiny("llava")
    model = copy.deepcopy(model)
    inputs = dict(encode(processor, [Prompt("Is it red?", (picture(1),))]))
    ids = inputs["input_ids"][0]
    start = int((ids == model.config.image_token_id).long().argmax())
    length = len(ids)

    def near(i, j):
        (r, c), (s, d) = divmod(i - start, 4), divmod(j - start, 4)
        low = [min(max(x - 1, 0), 1) for x in (r, c)]
        return low[0] <= s <= low[0] + 2 and low[1] <= d <= low[1] + 2

    def sees(h, i, j):
        inside = start <= i < start + 16
        if inside and start <= j < start + 16:
            return near(i, j)
        return j <= i or (inside and start + 16 <= j < stop)

    adapter = ModelAdapter.of(model, processor)
    layout = with_pictures(Layout.of(inputs, adapter, None, None), inputs, adapter, inputs)
    image, question = regions(layout, 0)
    assert image == Region("image", start, start + 16, (4, 4))
    assert (question.start, question.name) == (start + 16, "question")
    stop = question.stop
    with rewritten(model, by_hand(sees)) as written:
        wanted = last_logits(written, inputs)
    model.set_attn_implementation(implementation)
    spec = f"sparse(pattern=neighborhood[3]|mutual-rectangle[0:{length}/{start}:{start + 16}])"
    with apply(model, spec, processor) as handle, handle.request(prompt_length=length):
        found = last_logits(model, inputs)
    torch.testing.assert_close(found, wanted, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "spec"),
    [
        ("llama", "sparse(pattern=window[6/sink=2])"),
        ("mistral", "sparse(pattern=power[block=2/window=1])"),
        ("gemma3", "sparse(pattern=s2[block=3/local=1/stride=3])"),
        ("internvl", "sparse(pattern=neighborhood[1])"),
        ("smolvlm", "sparse(pattern=neighborhood[1]&window[20])"),
        ("qwen2_5_vl", "sparse(pattern=mutual)"),
    ],
)
def test_cached_or_not_alone_or_in_a_batch_the_answer_is_one(family, spec, runs):
    runs(family).agrees(spec)


def test_branches_read_the_prompt_in_the_same_way(runs):
    case = runs("llava")
    spec = "sparse(pattern=window[9/sink=3])+vcd(beta=0)+pai(alpha=0.5)"
    case.agrees(spec)


@pytest.mark.parametrize("pattern", ["window[5/sink=1]", "mutual", "full"])
def test_neither_padding_nor_an_answer_to_come_is_seen(pattern, tiny):
    model, processor = tiny("llava")
    prompts = [Prompt("Is it red?", (picture(1),)), Prompt("Which of the two?", (picture(2),))]
    batch = dict(encode(processor, prompts))
    length = batch["input_ids"].shape[1]
    assert (batch["attention_mask"][0] == 0).any()
    answers = torch.tensor([[5, 17, 40], [9, 5, 61]])

    def logits(padding, answer):
        ids = torch.where(batch["attention_mask"] == 0, padding, batch["input_ids"])
        inputs = dict(batch)
        inputs["input_ids"] = torch.cat([ids, answer], 1)
        inputs["attention_mask"] = torch.cat([batch["attention_mask"], answer > 0], 1)
        with (
            torch.no_grad(),
            apply(model, f"sparse(pattern={pattern})", processor) as handle,
            handle.request(prompt_length=length),
        ):
            return model(**inputs).logits[:, length - 1 :]

    one, two = logits(3, answers), logits(11, answers.flip(0))
    assert torch.equal(one[:, 0], two[:, 0])
    assert not torch.equal(one[:, 1:], two[:, 1:])


def test_a_window_of_the_model_stays_closed(tiny):
    """Mistral's window of 11 on an S2 pattern: no query looks farther back."""
    model, processor = tiny("mistral")
    calls = []
    with (
        apply(model, "sparse(pattern=s2[block=2/local=1/stride=2])", processor) as handle,
        observing(handle.adapter.attention, lambda layer, call: calls.append(call)),
    ):
        model.generate(input_ids=IDS, max_new_tokens=4, do_sample=False)
    for number, call in enumerate(calls):
        queries, keys = call.query.shape[2], call.key.shape[2]
        first = 17 + number // 2  # two layers a pass
        for row in range(queries):
            i = row if queries == 18 else first
            base = 0 if queries == 18 else i + 1 - keys
            wanted = torch.zeros(4, call.value.shape[-1])
            for head in range(4):
                seen = [
                    j
                    for j in range(base, i + 1)
                    if i - j < 11 and (i // 2 == j // 2 or (j // 2 + head // 2) % 2 == 0)
                ]
                at = [j - base for j in seen]
                scores = call.query[0, head, row] @ call.key[0, head // 2, at].T * call.scale
                wanted[head] = scores.softmax(-1) @ call.value[0, head // 2, at]
            torch.testing.assert_close(call.output[0, row], wanted, atol=1e-5, rtol=1e-4)


def test_causal_leaves_the_model_alone(runs):
    assert parse("sparse(pattern=causal)").plan() == Plan()
    runs("llama").is_untouched_by("sparse(pattern=causal)", "sparse(pattern=dense+causal@0)")


def test_an_exactly_causal_pattern_gives_the_model_s_tokens(runs):
    case = runs("gemma3")
    plain = case.generate(case.inputs())
    with apply(case.model, "sparse(pattern=window[4096])", case.processor):
        assert torch.equal(case.generate(case.inputs()), plain)


@pytest.mark.parametrize(
    ("family", "grids"),
    [
        ("llava", [(4, 4)]),
        ("qwen2_vl", [(2, 2)]),
        ("gemma3", [(2, 2)]),
        ("idefics3", [(2, 2)] * 5),
        ("llava_next", [(4, 4), ()]),
    ],
)
def test_where_pictures_are_and_how_they_lie(family, grids, tiny):
    model, processor = tiny(family)
    inputs = dict(encode(processor, [Prompt("Is it red?", (picture(2, 60, 44),))]))
    adapter = ModelAdapter.of(model, processor)
    layout = with_pictures(Layout.of(inputs, adapter, None, None), inputs, adapter, inputs)
    found = [it for it in regions(layout, 0) if it.name == "image"]
    assert [it.grid for it in found] == grids
    visual = adapter.is_visual(inputs["input_ids"])[0].nonzero()[:, 0].tolist()
    assert [at for it in found for at in range(it.start, it.stop)] == visual
    moved = layout.widened(layout.width + 5).extended(layout.width + 9)
    assert regions(moved, 0) == regions(layout, 0)


def test_the_frames_of_a_video_are_an_axis(tiny):
    model, processor = tiny("qwen2_vl")
    frames = video(1, frames=4)
    inputs = dict(encode(processor, [Prompt("Is it red?", (), videos=(frames,))]))
    adapter = ModelAdapter.of(model, processor)
    layout = with_pictures(Layout.of(inputs, adapter, None, None), inputs, adapter, inputs)
    (found,) = [it for it in regions(layout, 0) if it.name == "image"]
    t, h, w = inputs["video_grid_thw"][0].tolist()
    assert found.grid == (t, h // 2, w // 2)


def test_segments_are_regions(tiny):
    model, processor = tiny("llama")
    parts = [PromptParts(turn=(1, 16), segments=(((3, 6), (6, 9)),))]
    other = torch.cat([IDS[:, :3], IDS[:, 6:9], IDS[:, 3:6], IDS[:, 9:]], 1)
    found = []
    with apply(model, "sparse(pattern=segments[visible=own])", processor) as handle:
        calls = []
        with (
            observing(handle.adapter.attention, lambda layer, call: calls.append(call)),
            handle.request(parts=parts, prompt_length=18),
            torch.no_grad(),
        ):
            for ids in (IDS, other):
                found.append(model(input_ids=ids).logits)
    # the second segment does not see the first: what it computes does not depend on it
    changed = IDS.clone()
    changed[:, 3:6] = 44
    with (
        apply(model, "sparse(pattern=segments[visible=own])", processor) as handle,
        handle.request(parts=parts, prompt_length=18),
        torch.no_grad(),
    ):
        again = model(input_ids=changed).logits
    torch.testing.assert_close(again[:, 6:9], found[0][:, 6:9], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(again[:, 9:], found[0][:, 9:], atol=1e-3)


def test_what_a_pattern_reads_and_whether_it_looks_ahead():
    def of(text):
        pattern = parse_pattern(text)
        return named_regions(pattern), looks_ahead(pattern)

    assert of("window(4)") == (frozenset(), False)
    assert of("neighborhood(3)&causal") == ({"image"}, False)
    assert of("neighborhood(3)") == ({"image"}, True)
    assert of("mutual|window(3)") == ({"image", "question"}, True)
    assert of("segments(visible=own)") == ({"segment"}, False)
    assert of("full") == (frozenset(), True)


def test_a_spec_is_read_and_printed_in_brackets():
    spec = parse("sparse(pattern=power[block=64/window=3]+dense@0/-1)")
    assert str(spec) == "sparse(pattern=power[block=64/window=3]+causal@0/-1)"
    assert parse(str(spec)) == spec
    assert Sparse("window(256,sink=4)") == Sparse("window[256/sink=4]")
    assert len(spec.plan().attention) == 1
    assert list(spec.plan().attention[0].where.of(4)) == [1, 2]


@pytest.mark.parametrize(
    ("spec", "family", "message"),
    [
        ("sparse(pattern=window[4]+dense@7)", "llama", "layer 7 of 2"),
        ("sparse(pattern=mutual)", "llama", "one of pictures, and the model reads text only"),
    ],
)
def test_what_a_model_cannot_have_is_refused(spec, family, message, tiny):
    model, processor = tiny(family)
    assert message in obstacle(parse(spec).plan(), ModelAdapter.of(model, processor))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sparse", "parameter 'pattern' is required"),
        ("sparse(pattern=windw[4])", "did you mean"),
        ("sparse(pattern=window[0])", "must be 1 or more"),
        ("sparse(pattern=window[4])+pine", "position-invariant attention computes masks"),
    ],
)
def test_bad_specs_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)


def test_a_prompt_without_a_picture_is_refused_by_a_pattern_of_pictures(tiny):
    model, processor = tiny("llava")
    inputs = dict(encode(processor, [Prompt("Is it red?")]))
    with (
        apply(model, "sparse(pattern=neighborhood[3])", processor),
        pytest.raises(UserError, match="no region 'image'"),
    ):
        model.generate(**inputs, max_new_tokens=1)


def test_a_text_that_is_scored_must_say_where_its_answer_begins(tiny):
    model, processor = tiny("llava")
    inputs = dict(encode(processor, [Prompt("Is it red?", (picture(1),))]))
    with (
        apply(model, "sparse(pattern=mutual)", processor),
        pytest.raises(UserError, match="where the answer begins"),
    ):
        model(**inputs)

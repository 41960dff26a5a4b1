"""Activation patching: which places carry the other prompt over, and which leave this one."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse
from lmms_causal.interventions.edits.alignment import counterparts
from lmms_causal.interventions.edits.media import blanked
from lmms_causal.testing import Prompt, encode, picture

FAMILIES = ["llama", "mistral", "gemma2", "qwen2", "llava", "qwen2_5_vl", "gemma3"]
ASKED = "Is the small cup red, or blue?"
OTHER = {
    "as long": ("cup", "cat"),
    "longer": ("cup", "white cup of tea"),
    "shorter": ("small cup", "cup"),
}


def inputs_of(family, processor, *texts):
    from lmms_causal.testing import family as family_of

    sees = family_of(family).kind == "vision"
    shown = (picture(3),) if sees else ()
    return dict(encode(processor, [Prompt(text, shown) for text in texts]))


@torch.no_grad()
def logits(model, inputs):
    return model(**inputs).logits


@torch.no_grad()
def patched(model, processor, spec, inputs):
    length = inputs["input_ids"].shape[1]
    with apply(model, spec, processor) as handle, handle.request(prompt_length=length):
        return model(**inputs).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_behind_every_token_gives_the_other_prompts_answer(family, tiny):
    model, processor = tiny(family)
    inputs, source = (inputs_of(family, processor, it) for it in (ASKED, "Is it red?"))
    inputs = inputs_of(family, processor, ASKED)
    find, replace = OTHER["as long"]
    source = inputs_of(family, processor, ASKED.replace(find, replace))
    spec = f"patch(find={find};replace={replace};queries=all)"
    found, wanted = patched(model, processor, spec, inputs), logits(model, source)
    plain = logits(model, inputs)
    if found.shape == wanted.shape:
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found[:, -1], wanted[:, -1], atol=2e-5, rtol=1e-5)
    assert (found[:, -1] - plain[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", OTHER)
@pytest.mark.parametrize("family", ["llama", "qwen2_5_vl"])
def test_the_last_layer_at_the_last_token_is_the_other_answer_and_no_more(kind, family, tiny):
    model, processor = tiny(family)
    find, replace = OTHER[kind]
    inputs = inputs_of(family, processor, ASKED)
    source = logits(model, inputs_of(family, processor, ASKED.replace(find, replace)))
    plain = logits(model, inputs)
    found = patched(model, processor, f"patch(find={find};replace={replace};layers=1)", inputs)
    torch.testing.assert_close(found[:, -1], source[:, -1], atol=2e-5, rtol=1e-5)
    assert torch.equal(found[:, :-1], plain[:, :-1])
    assert (found[:, -1] - plain[:, -1]).abs().max() > 1e-3


def test_heads_of_one_layer_by_hand(tiny):
    """The input of the output projection, swapped at the last token for two heads of four."""
    model, processor = tiny("llama")
    inputs = inputs_of("llama", processor, ASKED)
    source = inputs_of("llama", processor, ASKED.replace("cup", "white cup of tea"))
    projection = model.model.layers[1].self_attn.o_proj
    width = model.config.head_dim
    kept = []
    hook = projection.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
    logits(model, source)
    hook.remove()

    def swap(module, given):
        states = given[0].clone()
        for head in (0, 3):
            slot = slice(head * width, (head + 1) * width)
            states[:, -1, slot] = kept[0][:, -1, slot]
        return (states,)

    hook = projection.register_forward_pre_hook(swap)
    wanted = logits(model, inputs)
    hook.remove()
    spec = "patch(find=cup;replace=white cup of tea;at=heads;layers=1;heads=0|3)"
    found = patched(model, processor, spec, inputs)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert (found - logits(model, inputs)).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["llama", "qwen2_5_vl"])
def test_all_heads_of_the_first_layer_where_the_words_are_the_same(family, tiny):
    """Behind the words exchanged, attention of layer 0 is all that tells both prompts apart."""
    model, processor = tiny(family)
    inputs = inputs_of(family, processor, ASKED)
    source = inputs_of(family, processor, ASKED.replace("small cup", "cup"))
    spec = "patch(find=small cup;replace=cup;at=heads;layers=0;queries=last)"
    found = patched(model, processor, spec, inputs)

    kept = []
    hook = (
        model.get_decoder()
        .layers[0]
        .register_forward_hook(
            lambda module, given, output: kept.append(
                output[0] if isinstance(output, tuple) else output
            )
        )
    )
    logits(model, source)
    hook.remove()
    spec = "patch(find=small cup;replace=cup;layers=0;queries=last)"
    torch.testing.assert_close(found, patched(model, processor, spec, inputs), atol=2e-5, rtol=1e-5)
    assert (found - logits(model, inputs)).abs().max() > 1e-4


@pytest.mark.parametrize("image", ["blank", "noise"])
@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen2_vl", "internvl", "gemma3"])
def test_other_pictures(image, family, tiny):
    model, processor = tiny(family)
    inputs = inputs_of(family, processor, ASKED)
    everything = patched(model, processor, f"patch(image={image};queries=all)", inputs)
    if image == "blank":
        source = logits(model, {**inputs, **blanked(inputs)})
        torch.testing.assert_close(everything, source, atol=2e-5, rtol=1e-5)
    plain = logits(model, inputs)
    assert (everything[:, -1] - plain[:, -1]).abs().max() > 1e-4
    on_words = patched(model, processor, f"patch(image={image};queries=0)", inputs)
    torch.testing.assert_close(on_words, plain, atol=1e-5, rtol=1e-5)  # before the picture


def test_pictures_and_words_while_generating(runs):
    """``generate`` encodes pictures before the first pass; the other prompt's are encoded too."""
    case = runs("llava")
    inputs = case.inputs(Prompt(ASKED, (picture(3),)))
    source = case.inputs(Prompt(ASKED.replace("cup", "cat"), (picture(3),)))
    source.update(blanked(source))
    spec = "patch(find=cup;replace=cat;image=blank;queries=last)"
    with apply(case.model, spec, case.processor):
        output = case.model.generate(
            **inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True
        )
    torch.testing.assert_close(output.logits[0][0], case.last(source, []), atol=2e-5, rtol=1e-5)


def test_batches_are_their_rows(tiny):
    model, processor = tiny("llama")
    texts = (ASKED, "Was it a cup?", "No, and why would the cup be there at all, of all places?")
    spec = "patch(find=cup;replace=white cup of tea;layers=0;queries=all)"
    batch = inputs_of("llama", processor, *texts)
    together = patched(model, processor, spec, batch)
    for row, text in enumerate(texts):
        alone = patched(model, processor, spec, inputs_of("llama", processor, text))
        real = batch["attention_mask"][row].bool()
        torch.testing.assert_close(together[row][real], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("here", "there", "width", "wanted"),
    [
        # a, B, c with b' in place of B, as long
        ([0, 1, 2], [(0, 0), (1, -1), (2, 2)], 3, [0, 1, 2]),
        # two for one: the end is matched, the rest is new
        ([0, 1, 2], [(0, 0), (1, -1), (2, -1), (3, 2)], 3, [0, 2, 3]),
        # one for two: the first has none
        ([0, 1, 2, 3], [(0, 0), (1, -1), (2, 3)], 4, [0, -1, 1, 2]),
        # padding on both sides, words deleted
        ([2, 3, 4], [(1, 2), (2, 4)], 5, [-1, -1, 1, -1, 2]),
        # at the very end
        ([0, 1], [(0, 0), (1, -1)], 2, [0, 1]),
    ],
)
def test_counterparts(here, there, width, wanted):
    assert counterparts(here, there, width) == wanted


def test_prompts_without_the_words(tiny):
    model, processor = tiny("llama")
    inputs = inputs_of("llama", processor, "Is it red?")
    with pytest.raises(UserError, match="find=zebra does not occur in a prompt"):
        patched(model, processor, "patch(find=zebra;replace=cup)", inputs)
    found = patched(model, processor, "patch(find=zebra;replace=cup;missing=skip)", inputs)
    torch.testing.assert_close(found, logits(model, inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("patch(find= ;replace=x)", "find"),
        ("patch(replace=x)", "replace=x"),
        ("patch", "the other prompt is this one; write e.g. find=red;replace=blue, or image="),
        ("patch(layers=0;queries=last)", "the other prompt is this one"),
        ("patch(find=cup;replace=cup)", "find=cup, replace=cup .*the other prompt is this one"),
        ("patch(find=a;layers=x)", "layers=x"),
        ("patch(find=a;heads=0)", "heads=0"),
        ("patch(find=a;at=heads;heads=x)", "heads=x"),
        ("patch(find=a;queries=here)", "queries=here"),
    ],
)
def test_bad_values_are_named(spec, names):
    with pytest.raises(UserError, match=f"intervention patch: .*{names}"):
        parse(spec)


def test_what_a_model_lacks(tiny):
    model, processor = tiny("llama")
    for spec, reason in (
        ("patch(find=a;layers=7)", "layers=7"),
        ("patch(find=a;at=heads;heads=9)", "head 9"),
        ("patch(image=blank)", "reads text only"),
    ):
        with pytest.raises(UserError, match=reason):
            apply(model, spec, processor)

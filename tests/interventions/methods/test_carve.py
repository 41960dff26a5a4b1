"""CARVE: maps against stock forward passes with explicit attention, regions against hand counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.adapter.grids import overview
from lmms_causal.interventions.methods import carve
from lmms_causal.interventions.methods.carve import CARVE, answer_maps, contrast, fused, refined
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.question import Question
from lmms_causal.testing import Prompt, build, encode, picture

FAMILIES = ["llava", "llava_next", "qwen2_5_vl", "internvl", "idefics3", "gemma3"]


class Stub:
    """The unchanged model with one way to write a prompt."""

    def __init__(self, model, processor):
        self.adapter = ModelAdapter.of(model, processor)
        self.processor = processor
        self.asked = []

    def encode(self, question):
        self.asked.append(question)
        return dict(encode(self.processor, [Prompt(question.text, question.images)]))

    def ask(self, question, max_new_tokens):
        raise AssertionError("answers are not needed, only attention")


# --- worked numbers -------------------------------------------------------------------------------

Q = torch.tensor([[[[0.1, 0.4, 0.3, 0.2]]], [[[0.25, 0.25, 0.25, 0.25]]]])  # two steps, one layer
G = torch.tensor([[[[0.2, 0.4, 0.2, 0.2]]], [[[0.5, 0.25, 0.125, 0.125]]]])


@pytest.mark.parametrize(
    ("lam", "expected"), [(1e-8, [0.5, 1.0, 1.5, 1.0]), (0.05, [0.4, 0.888889, 1.2, 0.8])]
)
def test_contrast_divides_by_the_general_attention(lam, expected):
    found = contrast(Q[0, 0, 0], G[0, 0, 0], lam)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("variant", "expected"), [("all", [1.5, 3.0, 5.5, 5.0]), ("last", [0.5, 1, 2, 2])]
)
def test_later_steps_weigh_more_or_the_last_one_counts_alone(variant, expected):
    found = fused(Q, G, 1e-8, variant)[0]
    torch.testing.assert_close(found, torch.tensor(expected).double(), atol=1e-5, rtol=0)


def test_steps_are_paired_up_to_the_shorter_answer_and_layers_are_summed():
    longer = torch.cat([Q, torch.rand(3, 1, 1, 4)])
    assert torch.equal(fused(longer, G, 1e-8), fused(Q, G, 1e-8))
    twice = fused(Q.repeat(1, 2, 1, 1), G.repeat(1, 2, 1, 1), 1e-8)
    torch.testing.assert_close(twice, 2 * fused(Q, G, 1e-8))


def test_a_token_without_any_general_attention_counts_nothing():
    assert contrast(torch.tensor([0.3]), torch.tensor([0.0]), 1e-8).item() == 0


# --- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (1, [0]),
        (2, [1]),
        (24, [15, 16, 17, 18]),
        (28, list(range(20, 26))),
        (40, list(range(20, 26))),
        (64, list(range(40, 51))),
    ],
)
def test_published_layers_are_taken_or_scaled(depth, expected):
    assert list(CARVE().chosen(depth)) == expected


def test_layers_are_a_range_or_one(tiny):
    assert list(CARVE(layers="3-5").chosen(32)) == [3, 4, 5]
    assert list(CARVE(layers="7").chosen(32)) == [7]
    model, processor = tiny("llava")
    with pytest.raises(UserError, match="layers=20-25 goes beyond its 2 decoder layers"):
        apply(model, "carve(layers=20-25)", processor)


# --- maps -----------------------------------------------------------------------------------------


@torch.no_grad()
def rows_by_the_stock_model(model, inputs, positions, steps):
    """Every layer's last row at every step, without a cache, ``[T, layers, positions]``."""
    inputs = dict(inputs)
    maps = []
    for _ in range(steps):
        output = model(**inputs, output_attentions=True, use_cache=False)
        maps.append(torch.stack([w[0].mean(0)[-1, positions] for w in output.attentions]))
        token = output.logits[0, -1].argmax()
        if token == model.generation_config.eos_token_id:
            break
        inputs["input_ids"] = torch.cat([inputs["input_ids"], token.view(1, 1)], dim=1)
        for name in ("attention_mask", "token_type_ids", "mm_token_type_ids"):
            if name in inputs:
                more = torch.full_like(inputs[name][:, :1], int(name == "attention_mask"))
                inputs[name] = torch.cat([inputs[name], more], dim=1)
    return torch.stack(maps)


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_are_the_last_rows_of_an_uncached_greedy_answer(family, tiny):
    model, processor = tiny(family)
    assistant = Stub(model, processor)
    question = Question("Which of the two was first, and why?", (picture(1, 120, 60),))
    found = answer_maps(assistant, question, [0, 1], 5)
    explicit, _ = build(family)
    explicit.set_attn_implementation("eager")
    explicit.generation_config.eos_token_id = None
    inputs = assistant.encode(question)
    grid = overview(assistant.adapter, inputs)
    expected = rows_by_the_stock_model(explicit, inputs, grid.positions, 5)
    assert found.shape == (5, 2, grid.height, grid.width)
    torch.testing.assert_close(found.flatten(2), expected, atol=1e-5, rtol=1e-3)


def test_reading_stops_where_the_answer_ends():
    model, processor = build("llava")
    assistant = Stub(model, processor)
    question = Question("Is it red?", (picture(1),))
    inputs = assistant.encode(question)
    tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0]
    third = tokens[inputs["input_ids"].shape[1] + 2].item()
    model.generation_config.eos_token_id = third
    answer = tokens[inputs["input_ids"].shape[1] :].tolist()
    assert len(answer_maps(assistant, question, [1], 8)) == answer.index(third) + 1 <= 3


# --- refinement -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_come_out_cut_and_no_smaller(family, tiny):
    assistant = Stub(*tiny(family))
    images = (picture(1, 120, 60), picture(2, 45, 70))
    question = Question("Which was first?", images, key="t/0")
    made = CARVE(steps=3).prepare(question, assistant)
    assert (made.text, made.key, len(made.images)) == (question.text, "t/0", 2)
    for original, new in zip(images, made.images, strict=True):
        assert new.width >= original.width and new.height >= original.height
        assert min(new.width / original.width, new.height / original.height) == 1
    assert made.images != images
    both = CARVE(steps=3, final_images="both").prepare(question, assistant)
    assert both.images == (*images, *made.images)


def test_each_picture_is_looked_at_alone_with_both_prompts(tiny):
    assistant = Stub(*tiny("llava"))
    question = Question("Which was first?", (picture(1), picture(2)))
    CARVE(steps=1, instruction="Say what there is.", suffix="Be brief.").prepare(
        question, assistant
    )
    prompts = ["Which was first? Be brief.", "Say what there is. Be brief."]
    assert [(it.text, it.images) for it in assistant.asked] == [
        (text, (image,)) for image in question.images for text in prompts
    ]


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_question_equal_to_the_general_instruction_changes_nothing(family, tiny):
    assistant = Stub(*tiny(family))
    question = Question("What is there?", (picture(1, 120, 60),))
    maps = answer_maps(assistant, question, [0, 1], 3)
    assert maps.any() and (contrast(maps, maps, 0)[maps > 0] == 1).all()
    method = CARVE(instruction="What is there?", lam=0, steps=3)
    assert method.prepare(question, assistant).images == question.images


def test_marking_everything_changes_nothing_and_is_no_plan():
    values = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    assert refined(picture(1), values, 1.0, 3) == picture(1)
    assert parse("carve(p=1)").plan() == Plan()


def test_worked_regions_are_cut_from_the_picture():
    values = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 5], [0, 0, 0, 6], [2, 0, 0, 0]])
    shown = picture(3, 4, 4)
    # box 3..4 by 1..3: enlarged four times, so that the narrow side is the picture's own
    cut = refined(shown, values, 0.25, 1)
    assert cut.size == (4, 8)
    assert cut == shown.crop((3, 1, 4, 3)).resize((4, 8), Image.Resampling.LANCZOS)


def test_attention_planted_on_a_place_cuts_that_place_out(tiny, monkeypatch):
    shown = Image.new("RGB", (120, 80), "blue")
    shown.paste((255, 0, 0), (60, 20, 90, 40))  # the cell in row 1, column 2 of 4 x 4
    planted = torch.full((2, 1, 4, 4), 0.01)
    planted[:, :, 1, 2] = 0.5

    def maps(assistant, question, layers, steps):
        return planted if question.text.startswith("Is it") else torch.full((2, 1, 4, 4), 0.06)

    monkeypatch.setattr(carve, "answer_maps", maps)
    assistant = Stub(*tiny("llava"))
    method = CARVE(p=1 / 32, k=1)  # half of the cell, a diamond about its middle
    (cut,) = method.prepare(Question("Is it red?", (shown,)), assistant).images
    pixels = np.asarray(cut).astype(int)
    assert cut.width >= 120 and cut.height >= 80
    red = (pixels[..., 0] > 200) & (pixels[..., 2] < 50)
    assert red[cut.height // 2, cut.width // 2] and red.mean() > 0.45
    assert not (pixels[..., 2] > 50).any(), "nothing around the cell is shown"


# --- what is refused ------------------------------------------------------------------------------


def test_text_models_are_refused_unless_pictures_may_be_missing(tiny):
    model, tokenizer = tiny("llama")
    with pytest.raises(UserError, match="cannot run on LlamaForCausalLM: it refines a picture"):
        apply(model, "carve", tokenizer)
    apply(model, "carve(without_image=skip)", tokenizer).remove()
    question = Question("Why?")
    assert CARVE(without_image="skip").prepare(question, Stub(model, tokenizer)) is question


def test_videos_and_missing_pictures_are_refused(tiny):
    assistant = Stub(*tiny("llava"))
    with pytest.raises(UserError, match="how a video is refined is not defined"):
        CARVE().prepare(Question("Why?", (picture(1),), (object(),)), assistant)
    with pytest.raises(UserError, match="needs an image in every prompt and found one without"):
        CARVE().prepare(Question("Why?"), assistant)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("p=1.2", "p=1.2 must lie in 0..1"),
        ("k=0", "k=0 must be 1 or more"),
        ("steps=0", "steps=0 must be 1 or more"),
        ("lam=-1", "lam=-1.0 must be 0 or more"),
        ("lam=inf", "lam=inf must be 0 or more"),
        ("layers=25-20", "layers=25-20 must be a range of layers"),
        ("layers=last", "layers=last must be a range of layers"),
        ("variant=first", "variant=first is not one of all, last"),
        ("final_images=none", "final_images=none is not one of refined, both"),
    ],
)
def test_parameters_out_of_range_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(f"carve({arguments})")

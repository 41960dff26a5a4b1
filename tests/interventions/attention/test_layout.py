"""Layouts: what the tokens of each family's prompts are."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.layout import Layout, Role
from lmms_causal.interventions.attention.spans import IMAGE, QUESTION, TURN
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.testing import Prompt, encode, names, picture

PROMPTS = (
    Prompt("Is it red?", (picture(1),), system="Answer in one word."),
    Prompt("Which of the two fell first, and why?", (picture(2, 30, 30), picture(3, 40, 64))),
)


def found(family, tiny, parts=None, prompt_length=None):
    model, processor = tiny(family)
    inputs = encode(processor, PROMPTS)
    adapter = ModelAdapter.of(model, processor)
    return inputs, adapter, Layout.of(inputs, adapter, parts, prompt_length)


@pytest.mark.parametrize("family", names("vision"))
def test_pictures_are_found_and_what_follows_them_is_the_turn(family, tiny):
    inputs, adapter, layout = found(family, tiny)
    assert torch.equal(layout.real, inputs["attention_mask"].bool())
    image = IMAGE.resolve(layout)
    assert torch.equal(image, adapter.is_visual(inputs["input_ids"]))
    assert image.any(dim=1).all()
    question, words = QUESTION.resolve(layout), TURN.resolve(layout)
    for row, prompt in enumerate(PROMPTS):
        last = int(image[row].nonzero()[-1])
        assert question[row].nonzero()[:, 0].tolist() == list(range(last + 1, layout.width))
        start = int((question & words)[row].nonzero()[0])
        assert words[row, start:].all()
        # not what the template writes between a picture and the words
        text = adapter.tokenizer.decode(inputs["input_ids"][row, start:])
        assert text.lstrip(" ").startswith(prompt.text)
    assert layout.prompt_end == layout.width


def test_what_a_host_says_of_a_turn_counts_from_the_first_real_token(tiny):
    _, _, layout = found("llava", tiny)
    first = layout.real.long().argmax(dim=1)
    last = IMAGE.resolve(layout).long().cumsum(1).argmax(dim=1)
    start, stop = last + 1 - first, last + 4 - first
    parts = [PromptParts((int(a) - 2, int(b))) for a, b in zip(start, stop, strict=True)]
    _, _, layout = found("llava", tiny, parts)
    for row in range(2):
        at = int(last[row])
        # the line end behind the picture is the template's
        assert TURN.resolve(layout)[row].nonzero()[:, 0].tolist()[-2:] == [at + 2, at + 3]
        assert (layout.roles[row, at + 4 :] == Role.TAIL).all()
        assert layout.roles[row, int(first[row])] == Role.SYSTEM


def test_beams_share_what_was_said_of_their_prompt(tiny):
    model, processor = tiny("llama")
    inputs = {"input_ids": torch.arange(10, 34).reshape(4, 6)}
    parts = [PromptParts((1, 3)), PromptParts((2, 5), (((0, 2), (2, 4)),))]
    layout = Layout.of(inputs, ModelAdapter.of(model, processor), parts, None)
    turns = TURN.resolve(layout).long().sum(dim=1).tolist()
    assert turns == [2, 2, 3, 3]
    assert layout.groups(0) == []
    assert [[places[:2] for places in group] for group in layout.groups(3)] == [[(0, 2), (2, 4)]]


def test_text_without_pictures_or_a_host_is_one_turn(tiny):
    model, processor = tiny("llama")
    inputs = {
        "input_ids": torch.tensor([[0, 0, 5, 6, 7], [5, 6, 7, 8, 9]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),
    }
    layout = Layout.of(inputs, ModelAdapter.of(model, processor), None, 4)
    assert layout.roles.tolist() == [[-1, -1, 1, 1, 4], [1, 1, 1, 1, 4]]
    assert layout.prompt_end == 4


def test_layouts_grow_on_the_right_and_are_padded_on_the_left(tiny):
    model, processor = tiny("llama")
    inputs = {
        "input_ids": torch.tensor([[0, 5, 6, 7]]),
        "attention_mask": torch.tensor([[0, 1, 1, 1]]),
    }
    parts = PromptParts((1, 2), (((1, 2),),))
    layout = Layout.of(inputs, ModelAdapter.of(model, processor), [parts], None)
    assert layout.roles.tolist() == [[-1, 0, 1, 3]]
    grown = layout.extended(6)
    assert grown.roles.tolist() == [[-1, 0, 1, 3, 4, 4]]
    assert grown.prompt_end == 4
    assert grown.extended(5) is grown
    wide = grown.widened(8)
    assert wide.roles.tolist() == [[-1, -1, -1, 0, 1, 3, 4, 4]]
    assert wide.prompt_end == 6
    assert [[places[:2] for places in group] for group in wide.groups(0)] == [[(4, 5)]]
    assert wide.segment(1, 1)[0].nonzero()[:, 0].tolist() == [4]
    assert not wide.segment(1, 2).any()
    assert not wide.segment(2, 1).any()

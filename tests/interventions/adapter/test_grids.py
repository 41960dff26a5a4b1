"""The view of a whole picture among a prompt's visual tokens, in every family."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.adapter.grids import overview
from lmms_causal.testing import Prompt, encode, names, picture

# of a picture of 120 x 60: rows, columns, visual tokens in all, the text of the token before
EXPECTED = {
    "llava": (4, 4, 16, " "),
    "llava_next": (4, 4, 52, " "),
    "llava_onevision": (4, 4, 52, "\n"),
    "qwen2_vl": (2, 4, 8, "<|vision_start|>"),
    "qwen2_5_vl": (2, 4, 8, "<|vision_start|>"),
    "qwen3_vl": (2, 4, 8, "<|vision_start|>"),
    "internvl": (2, 2, 12, "<IMG_CONTEXT>"),
    "idefics3": (2, 2, 12, "<global-img>"),
    "smolvlm": (2, 2, 12, "<global-img>"),
    "gemma3": (2, 2, 4, "<start_of_image>"),
}


def encoded(tiny, family, *prompts):
    model, processor = tiny(family)
    return ModelAdapter.of(model, processor), encode(processor, prompts)


def test_every_family_is_listed():
    assert set(EXPECTED) == set(names("vision"))


@pytest.mark.parametrize("family", EXPECTED)
def test_the_view_is_a_rectangle_of_visual_tokens_where_the_family_puts_it(family, tiny):
    adapter, inputs = encoded(tiny, family, Prompt("Is it red?", (picture(1, 120, 60),)))
    height, width, count, before = EXPECTED[family]
    grid = overview(adapter, inputs)
    assert (grid.height, grid.width) == (height, width)
    ids = inputs["input_ids"][0]
    assert adapter.is_visual(ids).sum() == count
    assert adapter.is_visual(ids[grid.positions]).all()
    places = grid.positions.tolist()
    assert places == list(range(places[0], places[0] + height * width))
    text = adapter.tokenizer.decode(ids[places[0] - 1])
    assert text == before
    if adapter.family.overview == "last":  # a thumbnail, behind all tiles
        assert places[-1] == adapter.is_visual(ids).nonzero()[-1].item()


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_a_tall_picture_has_a_tall_grid(family, tiny):
    adapter, inputs = encoded(tiny, family, Prompt("Is it red?", (picture(1, 60, 120),)))
    grid = overview(adapter, inputs)
    assert (grid.height, grid.width) == (4, 2)


def test_padding_moves_the_positions(tiny):
    short, long = Prompt("Is it red?", (picture(1),)), Prompt("What of it? " * 9, (picture(1),))
    adapter, alone = encoded(tiny, "llava", short)
    _, both = encoded(tiny, "llava", short, long)
    first = {name: value[:1] for name, value in both.items()}
    padding = both["input_ids"].shape[1] - alone["input_ids"].shape[1]
    assert padding > 0
    moved = overview(adapter, first).positions - overview(adapter, alone).positions
    assert set(moved.tolist()) == {padding}


def test_what_does_not_fit_is_refused(tiny):
    adapter, two = encoded(tiny, "llava", Prompt("Which?", (picture(1), picture(2))))
    with pytest.raises(UserError, match="has 32 visual tokens, where a picture's view of 4 x 4"):
        overview(adapter, two)
    adapter, none = encoded(tiny, "gemma3", Prompt("Which?"))
    with pytest.raises(UserError, match="has 0 visual tokens"):
        overview(adapter, none)
    adapter, two = encoded(tiny, "qwen2_vl", Prompt("Which?", (picture(1), picture(2))))
    with pytest.raises(UserError, match="image_grid_thw for one picture"):
        overview(adapter, two)
    with pytest.raises(UserError, match="how its visual tokens lie on a picture is not known"):
        overview(replace(adapter, family=None), two)

"""CCA: the paper's rings, positions and mask, and the stock model under them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.layout import Layout, Role
from lmms_causal.interventions.methods.cca import (
    concentric_positions,
    hidden_by_rings,
    rings,
    seen_by_rings,
)
from lmms_causal.testing import Prompt

SQUARES = ["llava", "internvl", "idefics3", "gemma3"]


def peeled(side: int) -> list[int]:
    """Rings of a square, row by row: one edge after the other is taken off."""
    left = {(row, column) for row in range(side) for column in range(side)}
    found, ring = {}, 0
    while left:
        rows, columns = [r for r, _ in left], [c for _, c in left]
        edge = {
            (r, c)
            for r, c in left
            if r in (min(rows), max(rows)) or c in (min(columns), max(columns))
        }
        found.update(dict.fromkeys(edge, ring))
        left, ring = left - edge, ring + 1
    return [found[row, column] for row in range(side) for column in range(side)]


def laid_out(side: int, *rows: str) -> Layout:
    """A layout of text ``t``, padding ``.`` and whole pictures ``I``."""
    kinds = {"t": [Role.TURN], ".": [Role.PADDING], "I": [Role.IMAGE] * side**2}
    roles = [[int(role) for letter in row for role in kinds[letter]] for row in rows]
    kept = torch.tensor(roles, dtype=torch.int8)
    return Layout(kept, torch.zeros_like(kept, dtype=torch.int32), side)


def plain(layout: Layout) -> Tensor:
    return (layout.real.long().cumsum(1) - 1).clamp(min=0)


def visible(layout: Layout) -> Tensor:
    """What each column sees ``[N, N]`` in the first row."""
    every = torch.arange(layout.width)
    causal = torch.ones(layout.width, layout.width, dtype=torch.bool).tril()
    opened = causal | seen_by_rings(layout, every, every)[0]
    return opened & ~hidden_by_rings(layout, every, every)[0]


def test_worked_examples_of_rings():
    assert rings(4, 4).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert rings(6, 6)[2:4, 2:4].unique().tolist() == [2]
    assert rings(5, 5).flatten().bincount().tolist() == [16, 8, 1]
    sizes = rings(24, 24).flatten().bincount().tolist()
    assert sizes == [92, 84, 76, 68, 60, 52, 44, 36, 28, 20, 12, 4]
    for side in (1, 2, 4, 7, 24):
        assert rings(side, side).flatten().tolist() == peeled(side)


def test_worked_example_of_positions():
    layout = laid_out(4, "ttIttt")
    found = concentric_positions(layout, plain(layout))[0].tolist()
    assert found == [0, 1, 2, 2, 2, 2, 2, 3, 3, 2, 2, 3, 3, 2, 2, 2, 2, 2, 4, 5, 6]


def test_positions_go_on_where_the_released_code_does():
    layout = laid_out(24, "ttIttt")
    length = layout.width
    found = concentric_positions(layout.extended(length + 2), torch.zeros(1, length + 2).long())
    assert found[0, length:].tolist() == [length - 576 + 12, length + 1 - 576 + 12]


def test_pictures_side_by_side_and_padding_have_positions_of_their_own():
    layout = laid_out(4, "..tIIt", "ttIIt.")  # padding on either side
    found = concentric_positions(layout, plain(layout))
    ring = torch.tensor(peeled(4))
    expected = [torch.tensor([0]), ring + 1, ring + 3, torch.tensor([5])]
    assert torch.equal(found[0, 2:], torch.cat(expected))
    expected = [torch.tensor([0, 1]), ring + 2, ring + 4, torch.tensor([6])]
    assert torch.equal(found[1, :-1], torch.cat(expected))


@pytest.mark.parametrize(("side", "pairs"), [(4, 208), (24, 184288)])
def test_inner_rings_see_outer_ones(side, pairs):
    block = visible(laid_out(side, "I"))
    assert int(block.sum()) == pairs
    ring = torch.tensor(peeled(side))
    assert torch.equal(block, ring[None] <= ring[:, None])


def test_the_mask_is_causal_outside_pictures_and_between_them():
    seen = visible(laid_out(4, "tItIt"))
    causal = torch.ones_like(seen).tril()
    first, second = slice(1, 17), slice(18, 34)
    for block in (first, second):
        assert int(seen[block, block].sum()) == 208
        causal[block, block] = seen[block, block]
    assert torch.equal(seen, causal)
    assert seen[1].nonzero()[:, 0].tolist() == [0, *(1 + i for i in range(16) if not peeled(4)[i])]


def test_one_token_is_a_picture_without_rings():
    layout = laid_out(1, "ttItt")
    assert torch.equal(concentric_positions(layout, plain(layout)), plain(layout))
    assert torch.equal(visible(layout), torch.ones(5, 5, dtype=torch.bool).tril())


def test_a_picture_that_is_cut_is_named():
    layout = laid_out(4, "tIt")
    cut = Layout(layout.roles[:, :-3], layout.segments[:, :-3], 4)
    with pytest.raises(UserError, match="not whole views of 4 x 4"):
        cut.views()


def pictures_of(run, inputs) -> tuple[list[int], int]:
    """The first column of each picture, or tile, of one prompt, and the side of all."""
    adapter = ModelAdapter.of(run.model, run.processor)
    side = adapter.family.view_side(run.model.config)
    image = adapter.is_visual(inputs["input_ids"][0]).nonzero()[:, 0].tolist()
    return image[:: side**2], side


@pytest.mark.parametrize("family", SQUARES)
def test_the_model_reads_with_these_positions_and_this_mask(runs, rewritten, family):
    run = runs(family)

    def expected(factual, inputs, tokens):
        longer = run.appended(inputs, [tokens])
        length = longer["input_ids"].shape[1]
        starts, side = pictures_of(run, inputs)
        ring, ids = peeled(side), []
        for column in range(length):
            inside = [start for start in starts if start <= column < start + side**2]
            moved = sum(side**2 - (side + 1) // 2 for s in starts if s + side**2 <= column)
            ids.append(column - moved)
            if inside:
                ids[-1] = inside[0] - moved + ring[column - inside[0]]

        def change(layer, scores, seen):
            seen = seen.clone()
            for start in starts:
                block = torch.tensor(ring)
                columns = slice(start, start + side**2)
                seen[..., columns, columns] = block[None] <= block[:, None]
            return scores, seen

        with rewritten(run.model, change) as copied:
            longer["attention_mask"] = torch.ones_like(longer["input_ids"])
            given = {**longer, "position_ids": torch.tensor([ids])}
            return copied(**given, use_cache=False).logits[0, -1].float()

    with torch.no_grad():
        run.follows("cca", expected)


@pytest.mark.parametrize("family", ["llava", "internvl", "gemma3"])
def test_all_ways_of_running_agree(runs, family):
    runs(family).agrees("cca")


def test_branches_read_by_rings_too(runs):
    """Composed with a contrast: the sum of both passes as each is under CCA alone."""
    run = runs("llava")
    inputs = run.inputs(run.prompts[0])
    length = inputs["input_ids"].shape[1]

    def logits(spec, given):
        with (
            torch.no_grad(),
            apply(run.model, spec, run.processor) as handle,
            handle.request(prompt_length=length),
        ):
            return run.model(**given).logits[0, -1].log_softmax(-1)

    noised = {**inputs, "pixel_values": torch.full_like(inputs["pixel_values"], 1.0)}
    image, other = logits("cca", inputs), logits("cca", noised)
    plan = parse("cca+vcd(beta=0)").plan()
    branch = plan.branches[0]
    constant = replace(branch, media=lambda given: {"pixel_values": noised["pixel_values"]})
    plan = replace(plan, branches=(constant,))
    found = logits(plan, inputs)
    torch.testing.assert_close(found, (2 * image - other).log_softmax(-1), atol=1e-4, rtol=1e-4)


def test_a_prompt_without_a_mask_is_given_one(runs):
    """Positions that repeat are otherwise taken for several texts in one row."""
    run = runs("llava")
    inputs = run.inputs(run.prompts[0])
    assert inputs["attention_mask"].all()
    bare = {name: value for name, value in inputs.items() if name != "attention_mask"}
    with torch.no_grad(), apply(run.model, "cca"):
        cached = run.model.generate(
            **inputs,
            max_new_tokens=1,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        ).logits[0]
        torch.testing.assert_close(run.model(**bare, use_cache=False).logits[:, -1], cached)


def test_a_prompt_without_a_picture_is_read_as_ever(runs):
    run = runs("llava")
    inputs = run.inputs(Prompt("Is it red?"))
    with torch.no_grad():
        before = run.model(**inputs).logits
        with apply(run.model, "cca"):
            torch.testing.assert_close(run.model(**inputs).logits, before, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("qwen2_5_vl", "lay pictures out on several axes"),
        ("llava_next", "its pictures vary in shape"),
        ("llava_onevision", "its pictures vary in shape"),
        ("llama", "the model reads text only"),
    ],
)
def test_models_that_have_no_rings_are_refused(runs, family, message):
    with pytest.raises(UserError, match=message):
        apply(runs(family).model, "cca")

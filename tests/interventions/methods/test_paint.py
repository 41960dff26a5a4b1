"""PAINT: which patches are chosen, and the stock model with the scores of their tokens raised."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.edits.vision import received
from lmms_causal.interventions.methods.paint import PAINT, largest, outliers, watched_blocks
from lmms_causal.testing import Prompt


def chosen(early: np.ndarray, late: np.ndarray, ratio: float) -> tuple[set[int], set[int]]:
    """Local and summary tokens of one picture, as the released code finds them."""
    count = len(early)
    first, third = np.percentile(late, [25, 75])
    bound = third + 1.5 * (third - first)
    summary = set(np.argsort(-late)[: int((late > bound).sum())].tolist())
    local = set(np.argsort(-early, kind="stable")[: int(count * ratio)].tolist())
    return local - summary, summary


@pytest.mark.parametrize("seed", range(5))
def test_tokens_are_chosen_as_in_the_released_code(seed):
    draw = np.random.default_rng(seed)
    early, late = draw.random(576).astype(np.float32), draw.lognormal(size=576).astype(np.float32)
    local, summary = chosen(early, late, 0.25)
    assert len(summary) > 10 and len(local) > 100
    vision = {
        layer: torch.from_numpy(np.concatenate([[9], row]).astype(np.float32))[None, None].repeat(
            1, 2, 1
        )
        for layer, row in ((0, early), (22, late))
    }
    strengths = PAINT(alpha=0.7, beta=0.3).strengths(vision)[0]
    assert set((strengths == 0.7).nonzero()[:, 0].tolist()) == local
    assert set((strengths.sub(0.3).abs() < 1e-6).nonzero()[:, 0].tolist()) == summary
    assert int((strengths == 0).sum()) == 576 - len(local) - len(summary)


def test_spatial_tokens_are_those_that_all_attend_to():
    class_row, all_rows = torch.tensor([4.0, 1, 1, 1]), torch.tensor([0.0, 1, 5, 2])
    block = torch.stack([class_row, all_rows])[None]
    vision = {0: torch.nn.functional.pad(block, (1, 0)), 1: torch.ones(1, 2, 5)}
    strengths = PAINT(alpha=1, local_ratio=0.25, spatial_ratio=0.25).strengths(vision)
    assert strengths.tolist() == [[1, 0, 1, 0]]


def test_choices_at_their_limits():
    values = torch.tensor([[1.0, 1, 1, 1], [0, 3, 2, 1]])
    assert largest(values, 0.5).tolist() == [[True, True, False, False], [False, True, True, False]]
    assert not largest(values, 0).any() and largest(values, 1).all()
    assert not outliers(values).any()
    assert [list(watched_blocks(n)) for n in (24, 3, 2, 1)] == [[0, 22], [0, 1], [0], [0]]


def attention_of(run, pixels: Tensor) -> list[Tensor]:
    """Weights ``[pictures, H, T, T]`` of each block, from an eager copy of the encoder."""
    tower = copy.deepcopy(ModelAdapter.of(run.model).tower)
    tower.set_attn_implementation("eager")
    with torch.no_grad():
        return list(tower(pixels, output_attentions=True).attentions)


def test_attention_in_the_encoder_is_kept_as_two_rows_a_picture(runs):
    run = runs("llava")
    pixels = run.inputs()["pixel_values"]
    weights = attention_of(run, pixels)
    adapter = ModelAdapter.of(run.model)
    with torch.no_grad(), received(adapter, [0, 1]) as found:
        adapter.tower(pixels[:3])
        adapter.tower(pixels[3:])
    assert sorted(found) == [0, 1]
    for block, kept in found.items():
        wanted = [weights[block][:, :, 0].sum(1), weights[block].sum(1).mean(1)]
        torch.testing.assert_close(kept, torch.stack(wanted, dim=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("gamma", "ratio"), [(1.0, 0.25), (1.5, 0.5)])
def test_the_model_with_raised_scores_and_the_contrast(runs, rewritten, gamma, ratio):
    run = runs("llava")
    seen_summaries = []

    def expected(factual, inputs, tokens):
        weights = attention_of(run, inputs["pixel_values"])
        early, late = (weights[block][:, :, 0, 1:].sum(1).numpy() for block in (0, 1))
        amounts = np.zeros_like(early)
        for picture in range(len(early)):
            local, summary = chosen(early[picture], late[picture], ratio)
            amounts[picture, list(local)], amounts[picture, list(summary)] = 2.0, 1.0
            seen_summaries.append(len(summary))
        longer = run.appended(inputs, [tokens])
        longer["attention_mask"] = torch.ones_like(longer["input_ids"])
        image = longer["input_ids"][0] == run.model.config.image_token_id
        by_column = torch.zeros(len(image), dtype=torch.float64)
        by_column[image] = torch.from_numpy(amounts.flatten()).double()
        last = inputs["input_ids"].shape[1] - 1

        def change(layer, scores, seen):
            more = scores.abs() * by_column
            more[:, :, :last] = 0
            return scores + more, seen

        with torch.no_grad(), rewritten(run.model, change) as copied:
            shown = copied(**longer, use_cache=False).logits[0, -1].float().log_softmax(-1)
        text = run.last(run.without_pictures(inputs), tokens).log_softmax(-1)
        return gamma * (shown - text) + text

    run.follows(
        f"paint(alpha=2;beta=1;gamma={gamma};cutoff=0;local_ratio={ratio};layers=0-1)", expected
    )
    assert sum(seen_summaries) > 0, "some picture must have summary tokens"


@pytest.mark.parametrize(
    "spec", ["paint(alpha=1;gamma=1;layers=0-1)", "paint(gamma=3;cutoff=0.01)"]
)
def test_all_ways_of_running_agree(runs, spec):
    runs("llava").agrees(spec)


def test_no_effect(runs):
    assert PAINT(alpha=0, beta=0, gamma=1).plan() == Plan()
    runs("llava").is_untouched_by("paint(alpha=0;beta=0;gamma=1)")


def test_prompts_without_a_picture_are_refused_or_left(runs):
    run = runs("llava")
    alone = run.inputs(Prompt("Which of the two was first?"))
    mixed = run.inputs(run.prompts[0], Prompt("Which of the two was first?"))
    plain = run.generate(mixed)
    with apply(run.model, "paint(gamma=1)"), pytest.raises(UserError, match="paint needs an image"):
        run.generate(mixed)
    with apply(run.model, "paint(alpha=3;gamma=1;layers=0-1;without_image=skip)"):
        assert torch.equal(run.generate(mixed)[1], plain[1])
        found = run.generate(alone)
    assert torch.equal(found, run.generate(alone))


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("llava_next", "cuts or pools its pictures"),
        ("qwen3_vl", "cuts or pools its pictures"),
        ("internvl", "cuts or pools its pictures"),
        ("llama", "needs a picture"),
    ],
)
def test_models_whose_tokens_are_not_patches_are_refused(runs, family, message):
    with pytest.raises(UserError, match=message):
        apply(runs(family).model, "paint")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("paint(alpha=-1)", "alpha=-1.0 must be 0 or more, and finite"),
        ("paint(local_ratio=2)", r"local_ratio=2.0 must lie in 0\.\.1"),
        ("paint(layers=a)", "layers=a must be a range of layers"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)

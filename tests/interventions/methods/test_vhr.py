"""VHR: heads chosen as in the paper's formulas, against the stock model with scaled projections."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.methods import vhr
from lmms_causal.interventions.methods.vhr import VHR, chosen_heads, released_layers
from lmms_causal.testing import Prompt

DIVERGENCE = [0.1, 0.5, 0.3, 2.0, 0.2, 0.4, 0.05, 0.35]
TEXT = [1, 1.2, 0.9, 6, 1, 1.1, 0.8, 1]
CASES = [(name, "drop") for name in ("llava", "llava_next", "qwen2_vl", "gemma3")]
CASES += [(name, "blank") for name in ("llava", "qwen2_vl", "internvl", "idefics3", "gemma3")]


def worked() -> tuple[Tensor, Tensor]:
    """Outputs ``[1, 8, 2]`` with and without the picture, of the example's norms."""
    hidden = torch.stack([torch.tensor(TEXT).sqrt(), torch.zeros(8)], dim=-1)
    return (hidden + torch.stack([torch.zeros(8), torch.tensor(DIVERGENCE)], dim=-1))[None], hidden[
        None
    ]


def test_worked_example():
    shown, hidden = worked()
    assert chosen_heads(shown, hidden)[0].nonzero()[:, 0].tolist() == [1, 2, 5, 7]
    kept = chosen_heads(shown, hidden, filter_outliers=False)
    assert kept[0].nonzero()[:, 0].tolist() == [1, 3, 5, 7]


def test_heads_that_do_not_depend_on_the_picture_are_left():
    shown, _ = worked()
    assert not chosen_heads(shown, shown).any()
    assert not chosen_heads(shown, shown * (1 + 1e-6)).any(), "rounding is no divergence"


def test_default_layers():
    assert released_layers(32) == (1, *range(18, 32))
    assert [released_layers(depth) for depth in (1, 2, 4)] == [(0,), (1,), (1, 2, 3)]


def outputs_of(model: Any, inputs: dict[str, Any], scale: Any = None) -> tuple[Any, list[Tensor]]:
    """Logits ``[L, V]`` of the stock model, and what its output projections are given.

    ``scale(layer, heads [1, L, H, d])`` may change that.
    """
    given: list[Tensor] = []

    def hook(module: Any, args: Any) -> Any:
        attention = model.get_decoder().layers[len(given)].self_attn
        heads = args[0].unflatten(-1, (-1, attention.head_dim))
        if scale is not None:
            heads = scale(len(given), heads)
        given.append(heads)
        return (heads.flatten(2),)

    with ExitStack() as stack, torch.no_grad():
        for layer in model.get_decoder().layers:
            stack.callback(layer.self_attn.o_proj.register_forward_pre_hook(hook).remove)
        return model(**inputs, use_cache=False).logits[0].float(), given


@pytest.mark.parametrize(("family", "branch"), CASES)
def test_every_token_is_read_by_the_heads_chosen_at_the_end_of_the_prompt(runs, family, branch):
    run = runs(family)

    def expected(factual, inputs, tokens):
        if branch == "drop":
            other = run.without_pictures(inputs)
        else:
            pixels = inputs["pixel_values"]
            tiles = pixels.ndim > 4 and pixels.flatten(2).any(-1)
            blank = torch.full_like(pixels, 1e-3)
            if pixels.ndim > 4:
                blank = torch.where(tiles[..., None, None, None], blank, pixels)
            other = {**inputs, "pixel_values": blank}
        hidden = outputs_of(run.model, other)[1]
        end = inputs["input_ids"].shape[1] - 1

        def scale(layer: int, heads: Tensor) -> Tensor:
            shown, text = heads[0, end], hidden[layer][0, -1]
            divergence, size = (shown - text).norm(dim=-1), text.norm(dim=-1) ** 2
            divergence[divergence < 1e-5] = 0  # a window that has no picture in it
            far = [x > x.mean() + x.std() for x in (divergence, size)]
            divergence = torch.where(far[0] & far[1], 0.0, divergence)
            factor = torch.where(divergence > divergence.median(), 3.0, 1.0)
            return heads * factor[:, None]

        return outputs_of(run.model, run.appended(inputs, [tokens]), scale)[0][-1]

    run.follows(f"vhr(alpha=3;layers=0-1;text_branch_input={branch})", expected)


@pytest.mark.parametrize("family", ["llava", "qwen3_vl", "gemma3"])
def test_all_ways_of_running_agree(runs, family):
    runs(family).agrees("vhr(alpha=4;layers=0|1)")


def test_heads_are_chosen_once_a_prompt(runs, monkeypatch):
    run, calls = runs("llava"), []

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(None)
        return chosen_heads(*args, **kwargs)

    monkeypatch.setattr(vhr, "chosen_heads", counted)
    for use_cache in (True, False):
        calls.clear()
        with apply(run.model, "vhr(layers=0-1)") as handle:
            run.generate(run.inputs(), use_cache=use_cache)
        assert len(calls) == 2, "one choice a layer"
        assert handle.forward_passes == 3 * (1 + 4)


def test_no_effect(runs):
    assert VHR(alpha=1).plan() == Plan()
    runs("llava").is_untouched_by("vhr(alpha=1)")


def test_prompts_without_a_picture_are_refused_or_left(runs):
    run = runs("llava")
    mixed = run.inputs(run.prompts[0], Prompt("Which of the two was first?"))
    with torch.no_grad():
        plain = run.generate(mixed)
        with (
            apply(run.model, "vhr"),
            pytest.raises(UserError, match="vhr needs an image in every prompt"),
        ):
            run.generate(mixed)
        with apply(run.model, "vhr(alpha=4;without_image=skip)") as handle:
            found = run.generate(mixed)
            with handle.request(prompt_length=mixed["input_ids"].shape[1]):
                logits = run.model(**mixed).logits[1]
        torch.testing.assert_close(logits, run.model(**mixed).logits[1])
    assert torch.equal(found[1], plain[1])


def test_a_text_that_is_scored_must_say_where_its_answer_begins(runs):
    run = runs("llava")
    with apply(run.model, "vhr"), pytest.raises(UserError, match="where the answer begins"):
        run.model(**run.inputs())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vhr(alpha=-1)", "alpha=-1.0 must be 0 or more, and finite"),
        ("vhr(layers=3-1)", "layers=3-1 must be a range of layers"),
        ("vhr(text_branch_input=none)", "text_branch_input=none"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)


def test_layers_beyond_the_model_are_named(runs):
    with pytest.raises(UserError, match="goes beyond its 2 decoder layers"):
        apply(runs("llava").model, "vhr(layers=1|18-31)")

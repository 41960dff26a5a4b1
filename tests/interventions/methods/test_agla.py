"""AGLA: the sum with a masked picture's logits, recomputed with the stock model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, matching, parse
from lmms_causal.interventions.edits.media import MEDIA_INPUTS
from lmms_causal.interventions.engine.combine import combined
from lmms_causal.interventions.matching import Match
from lmms_causal.interventions.methods.agla import AGLA, masked
from lmms_causal.interventions.plan import Signals
from lmms_causal.interventions.question import Question
from lmms_causal.testing import Prompt, picture

FACTUAL = torch.tensor([[[2, 1, 0.5, -1, -3]]])
MASKED = torch.tensor([[[1, 1.5, 0.5, -2, 0]]])
STEPS = 3


def assembled(spec: str) -> torch.Tensor:
    """The decoded logits of the worked example."""
    signals = Signals(
        FACTUAL, {"augmented": MASKED}, torch.tensor([0]), 2, lambda *_: FACTUAL, (0,), False
    )
    everywhere = torch.ones(1, 1, dtype=torch.bool)
    return combined(parse(spec).plan(), signals, {"augmented": everywhere})[0, 0]


def test_masked_logits_are_added_and_not_subtracted():
    assert assembled("agla(beta=0)").tolist() == [4, 4, 1.5, -5, -3]


def test_the_default_cutoff_leaves_one_token_of_the_worked_example():
    assert assembled("agla").isfinite().tolist() == [True, False, False, False, False]


def test_worked_example_with_a_lower_cutoff():
    expected = torch.tensor([0.480288, 0.480288, 0.039424, 0, 0])
    torch.testing.assert_close(assembled("agla(beta=0.1)").softmax(-1), expected, atol=1e-6, rtol=0)


def test_neutral_settings_touch_nothing(runs):
    runs("llava").is_untouched_by("agla(alpha=0;beta=0)")


def test_without_alpha_only_the_cutoff_is_left():
    plan = parse("agla(alpha=0)").plan()
    assert plan.branches == () and plan.increments[0].beta == 0.5


# --- the view -------------------------------------------------------------------------------------


@pytest.fixture
def corner(monkeypatch):
    """A matcher that finds everything in the upper left corner, and keeps what it was asked."""
    asked = []

    def look(shown, question):
        asked.append(question)
        heat = np.zeros((24, 24))
        heat[:4, :4] = 1
        return Match(heat, 1.0)

    monkeypatch.setitem(matching._known, "corner", lambda argument: look)
    matching.load.cache_clear()
    yield asked
    matching.load.cache_clear()


@pytest.fixture
def everything(monkeypatch):
    """A matcher whose map is constant."""
    monkeypatch.setitem(
        matching._known, "everything", lambda argument: lambda *_: Match(np.ones((4, 4)), 0.5)
    )
    matching.load.cache_clear()
    yield
    matching.load.cache_clear()


def test_view_keeps_what_matters_and_the_size_of_every_picture(corner):
    white = [Image.new("RGB", size, "white") for size in ((60, 30), (31, 77))]
    shown = AGLA(matcher="corner").view(Question("Is it red?", tuple(white)))
    assert [it.size for it in shown] == [(60, 30), (31, 77)]
    for it in shown:
        kept = np.asarray(it).any(axis=-1)
        assert kept[0, 0] and not kept[-1, -1]
    assert corner == ["Is it red?", "Is it red?"]


def test_half_the_pixels_are_kept_of_a_perfect_match():
    noise = np.random.default_rng(0).random((24, 24))
    kept = np.asarray(masked(Image.new("RGB", (384, 384), "white"), Match(noise, 1.0))).any(-1)
    assert kept.sum() == 384 * 384 // 2 + 1


def test_matcher_is_not_shown_the_answer_format(corner):
    question = Question("Is it red?\nAnswer with yes or no.", (picture(1),))
    AGLA(matcher="corner", format_from="Answer").view(question)
    assert corner == ["Is it red?\n"]


def test_released_size_is_a_square_of_384(corner):
    question = Question("Is it red?", (Image.new("RGB", (60, 30), "white"),))
    (shown,) = AGLA(matcher="corner", mask_at="384").view(question)
    assert shown.size == (384, 384)


def test_released_size_needs_a_model_of_one_picture_size(tiny):
    apply(*tiny("llava")[:1], "agla(mask_at=384;matcher=saliency)").remove()
    with pytest.raises(UserError, match="mask_at=384 needs a model that takes pictures of every"):
        apply(tiny("qwen2_vl")[0], "agla(mask_at=384;matcher=saliency)")


def test_videos_are_refused():
    with pytest.raises(UserError, match="how a video is masked is not defined"):
        AGLA(matcher="saliency").view(Question("What?", (), (object(),)))


# --- on models ------------------------------------------------------------------------------------


def shown_instead(run, prompt: Prompt, spec: str):
    """Model inputs with the masked pictures, and those among them that are pictures."""
    (branch,) = parse(spec).plan().branches
    view = branch.view(Question(prompt.text, prompt.images))
    inputs = run.inputs(Prompt(prompt.text, view))
    return inputs, {name: inputs[name] for name in MEDIA_INPUTS if name in inputs}


def decoded(run, prompt: Prompt, spec: str):
    """Greedy tokens and the logits ``[T, V]`` that they were chosen by."""
    _, pictures = shown_instead(run, prompt, spec)
    with (
        apply(run.model, spec, run.processor) as handle,
        handle.request(views={"augmented": pictures}),
    ):
        output = run.model.generate(
            **run.inputs(prompt),
            max_new_tokens=STEPS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    return output.sequences[0, -STEPS:].tolist(), torch.cat(output.logits)


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen2_5_vl", "idefics3"])
@pytest.mark.parametrize("variant", ["paper", "release"])
def test_decoding_adds_the_masked_pictures_logits(family, variant, runs):
    run = runs(family)
    spec = f"agla(matcher=saliency;alpha=1.5;beta=0.05;variant={variant})"
    prompt = run.prompts[0]
    tokens, logits = decoded(run, prompt, spec)
    inputs, (instead, _) = run.inputs(prompt), shown_instead(run, prompt, spec)
    for step in range(STEPS):
        factual = run.last(inputs, tokens[:step])
        other = run.last(instead, tokens[:step])
        assert not torch.allclose(other, factual, atol=1e-2), "the mask must matter"
        if variant == "release" and step > 0:
            other = factual
        expected = factual + 1.5 * other
        plausible = factual.softmax(-1) >= 0.05 * factual.softmax(-1).max()
        expected = expected.masked_fill(~plausible, -torch.inf)
        torch.testing.assert_close(logits[step], expected, atol=1e-3, rtol=1e-4)


def test_the_released_size_is_run_beside_pictures_of_any_size(runs):
    run = runs("llava")
    spec = "agla(matcher=saliency;mask_at=384;beta=0)"
    tokens, logits = decoded(run, run.prompts[0], spec)
    inputs, (instead, _) = run.inputs(run.prompts[0]), shown_instead(run, run.prompts[0], spec)
    expected = run.last(inputs, tokens[:1]) + 2 * run.last(instead, tokens[:1])
    torch.testing.assert_close(logits[1], expected, atol=1e-3, rtol=1e-4)


def test_a_mask_that_keeps_everything_sharpens_the_distribution(everything, runs):
    run = runs("llava")
    prompt = run.prompts[2]
    tokens, logits = decoded(run, prompt, "agla(matcher=everything;beta=0)")
    for step in range(STEPS):
        factual = run.last(run.inputs(prompt), tokens[:step])
        torch.testing.assert_close(logits[step], 3 * factual, atol=1e-3, rtol=1e-4)


def test_pictures_are_asked_for_where_only_tensors_are_given(runs):
    run = runs("llava")
    with (
        apply(run.model, "agla(matcher=saliency)"),
        pytest.raises(UserError, match="needs the pictures themselves and the question"),
    ):
        run.generate(run.inputs())


def test_prompts_without_a_picture_are_refused_or_skipped(runs):
    run = runs("llava")
    inputs = run.inputs(Prompt("Is it red?"))
    with (
        apply(run.model, "agla(matcher=saliency)"),
        pytest.raises(UserError, match="'augmented' needs an image in every prompt"),
    ):
        run.generate(inputs)
    plain = run.generate(inputs)
    with apply(run.model, "agla(matcher=saliency;without_image=skip)"):
        assert torch.equal(run.generate(inputs), plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("alpha=-1", "alpha=-1.0 must be 0 or more"),
        ("alpha=inf", "alpha=inf must be 0 or more"),
        ("beta=1.5", "beta=1.5 must lie in 0..1"),
        ("format_from= ", "format_from is empty"),
        ("matcher=clip", "intervention agla: matcher=clip is neither a matcher"),
        ("mask_at=512", "mask_at=512 is not one of original, 384"),
    ],
)
def test_parameters_out_of_range_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(f"agla({arguments})")

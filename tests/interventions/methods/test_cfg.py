"""Classifier-free guidance, against its formula and against transformers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.methods.cfg import CFG

VISION = ["llava", "qwen2_vl", "gemma3"]
TEXT = ["llama", "gemma2"]


@pytest.mark.parametrize("family", VISION)
def test_every_step_moves_away_from_the_prompt_without_picture(runs, family):
    run = runs(family)

    def expected(factual, inputs, tokens):
        prompt = factual.log_softmax(-1)
        negative = run.last(run.without_pictures(inputs), tokens).log_softmax(-1)
        return negative + 2.5 * (prompt - negative)

    run.follows("cfg(scale=2.5)", expected)


@pytest.mark.parametrize("family", [*TEXT, *VISION])
def test_every_step_moves_away_from_the_last_token_alone(runs, family):
    run = runs(family)

    def expected(factual, inputs, tokens):
        prompt = factual.log_softmax(-1)
        last = {"input_ids": inputs["input_ids"][:, -1:]}
        negative = run.last(last, tokens).log_softmax(-1)
        return negative + 2.5 * (prompt - negative)

    run.follows("cfg(scale=2.5;negative=prompt)", expected)


@pytest.mark.parametrize("family", VISION)
def test_all_ways_of_running_agree_without_picture(runs, family):
    runs(family).agrees("cfg(scale=3)")


@pytest.mark.parametrize("family", [*TEXT, "llava", "qwen2_vl"])
def test_all_ways_of_running_agree_without_prompt(runs, family):
    runs(family).agrees("cfg(scale=3;negative=prompt)")


def steps(run: Any, inputs: Any, **arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and the log-probabilities ``[T, V]`` of an answer, seeded."""
    torch.manual_seed(2)
    output = run.model.generate(
        **inputs,
        max_new_tokens=6,
        return_dict_in_generate=True,
        output_scores=True,
        top_k=0,
        **arguments,
    )
    return output.sequences, torch.cat(output.scores).log_softmax(dim=-1)


@pytest.mark.parametrize("do_sample", [False, True], ids=["greedy", "sampling"])
@pytest.mark.parametrize("family", ["llava", "llama", "gemma2"])
def test_same_as_guidance_of_transformers(runs, family, do_sample):
    run = runs(family)
    for prompt in run.prompts:
        inputs = run.inputs(prompt)
        theirs: dict[str, Any] = {"guidance_scale": 2.5, "do_sample": do_sample}
        spec = "cfg(scale=2.5;negative=prompt)"
        if family == "llava":
            spec = "cfg(scale=2.5;negative=image)"
            theirs["negative_prompt_ids"] = run.without_pictures(inputs)["input_ids"]
        expected = steps(run, inputs, **theirs)
        with apply(run.model, spec):
            result = steps(run, inputs, do_sample=do_sample)
        assert torch.equal(result[0], expected[0])
        torch.testing.assert_close(result[1], expected[1], atol=1e-4, rtol=1e-4)
        assert not torch.equal(result[1], steps(run, inputs, do_sample=do_sample)[1])


@pytest.mark.parametrize("family", [*VISION, *TEXT])
def test_neutral_setting_installs_nothing(runs, family):
    assert CFG(scale=1).plan() == CFG(scale=1, negative="prompt").plan() == Plan()
    runs(family).is_untouched_by("cfg(scale=1)", "cfg(scale=1;negative=prompt)")


def test_at_scale_zero_the_negative_prompt_answers(runs):
    run = runs("llava")
    run.follows(
        "cfg(scale=0)",
        lambda factual, inputs, tokens: run.last(run.without_pictures(inputs), tokens),
    )


def test_scoring_against_the_last_token_must_know_where_the_prompt_ends(runs):
    run = runs("llama")
    unknown = pytest.raises(UserError, match="does not say where the answer begins")
    with apply(run.model, "cfg(negative=prompt)"), unknown:
        run.model(**run.inputs())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cfg(scale=-1)", "scale=-1.0 must be 0 or more"),
        ("cfg(scale=inf)", "scale=inf must be 0 or more, and finite"),
        ("cfg(negative=text)", "negative=text is not one of image, prompt"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)

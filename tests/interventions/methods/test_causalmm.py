"""Counterfactual attention: against stock models whose attention is replaced by hooks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.engine.combine import combined
from lmms_causal.interventions.methods.causalmm import CausalMM, middle_third
from lmms_causal.interventions.plan import Signals
from lmms_causal.testing import Prompt, picture

FACTUAL = [2, 1, 0.5, -1, -3]
VISION = [1, 1.5, 0.5, -2, 0]
LANGUAGE = [0, 2, 0, 0, 0]
SEEING = ["llava", "llava_next", "qwen2_5_vl", "qwen3_vl", "internvl", "idefics3", "gemma3"]
SQUARE = ["llava", "llava_next", "llava_onevision", "internvl", "idefics3", "gemma3"]
READING = ["llama", "mistral", "gemma2", "llava", "qwen3_vl", "gemma3"]

Rows = Callable[[Tensor], Tensor]


def worked(method: CausalMM) -> Tensor:
    """The method on the logits of the worked examples, ``[5]``."""
    factual, vision, language = (torch.tensor([[row]]) for row in (FACTUAL, VISION, LANGUAGE))
    branches = {"causalmm_vision": vision, "causalmm_language": language}
    signals = Signals(factual, branches, None, 2, lambda *_: factual, (0,), False)
    where = {name: torch.ones(1, 1, dtype=torch.bool) for name in branches}
    return combined(method.plan(), signals, where)[0, 0]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (CausalMM("vision", gamma=1, epsilon=0.1), [0.858981, 0.070509, 0.070509, 0, 0]),
        (CausalMM("vision", gamma=0.5, epsilon=0.1), [0.763878, 0.132742, 0.103380, 0, 0]),
        (CausalMM("vision", gamma=1, epsilon=0.6), [1.0, 0, 0, 0, 0]),
        (CausalMM(gamma=0, epsilon=0.1), [0.628532, 0.231224, 0.140244, 0, 0]),
        (CausalMM(gamma=1, epsilon=0.1), [0.978088, 0.003997, 0.017914, 0, 0]),
    ],
)
def test_worked_examples(method, expected):
    torch.testing.assert_close(
        worked(method).softmax(-1), torch.tensor(expected), atol=1e-6, rtol=0
    )


def test_worked_example_of_both_without_a_cutoff():
    result = worked(CausalMM(gamma=1, epsilon=0))
    torch.testing.assert_close(result, torch.tensor([5, -0.5, 1, -1, -9]))


def test_default_layers():
    assert list(middle_third(32)) == list(range(10, 21))
    assert [list(middle_third(depth)) for depth in (1, 2, 3, 4)] == [[0], [0], [1], [1]]


# --- the model, with attention replaced by hooks ------------------------------------------------


def uniform(weights: Tensor) -> Tensor:
    open_to = (weights > 0).float()
    return open_to / open_to.sum(-1, keepdim=True)


def reverse(weights: Tensor) -> Tensor:
    edited = (weights.amax(-1, keepdim=True) - weights) * (weights > 0)
    total = edited.sum(-1, keepdim=True)
    return torch.where(total > 0, edited / total, weights)


def released_uniform(weights: Tensor) -> Tensor:
    return (weights > 0).float() / weights.shape[-1]


def released_reverse(weights: Tensor) -> Tensor:
    return (weights.amax(-1, keepdim=True) - weights) * (weights > 0)


def eager(model: Any) -> Any:
    """A copy whose attention modules return their weights."""
    copied = copy.deepcopy(model)
    copied.set_attn_implementation("eager")
    return copied


@torch.no_grad()
def with_text_rows(model: Any, inputs: dict[str, Any], layer: int, rows: Rows) -> Tensor:
    """Logits ``[V]`` of an eager model, the weights of one decoder layer replaced."""
    module = model.get_decoder().layers[layer].self_attn

    def hook(module, args, kwargs, output):
        weights = rows(output[1].float())
        value = module.v_proj(kwargs["hidden_states"]).unflatten(-1, (-1, module.head_dim))
        value = value.transpose(1, 2).repeat_interleave(module.num_key_value_groups, dim=1)
        return module.o_proj((weights @ value).transpose(1, 2).flatten(2)), None

    with ExitStack() as stack:
        handle = module.register_forward_hook(hook, with_kwargs=True)
        stack.callback(handle.remove)
        return model(**inputs, use_cache=False).logits[0, -1].float()


@torch.no_grad()
def with_uniform_vision(run: Any, inputs: dict[str, Any], blocks: list[int]) -> Tensor:
    """Logits ``[V]`` of the stock model, every patch attending equally to its picture or window."""
    adapter = ModelAdapter.of(run.model, run.processor)

    def mean_of_values(module, args, kwargs, output):
        hidden = args[0] if args else kwargs["hidden_states"]
        if hasattr(module, "qkv"):  # a packed sequence: one picture or window behind the other
            value = module.qkv(hidden).chunk(3, dim=-1)[2]
            lengths = kwargs["cu_seqlens"].diff().tolist()
            parts = [part.mean(0, keepdim=True).expand_as(part) for part in value.split(lengths)]
            return module.proj(torch.cat(parts))
        value = module.v_proj(hidden)
        out = module.out_proj if hasattr(module, "out_proj") else module.projection_layer
        return out(value.mean(1, keepdim=True).expand_as(value)), None

    with ExitStack() as stack:
        for block in blocks:
            module = adapter.vision_attention[block]
            handle = module.register_forward_hook(mean_of_values, with_kwargs=True)
            stack.callback(handle.remove)
        return run.model(**inputs, use_cache=False).logits[0, -1].float()


@pytest.mark.parametrize("family", READING)
@pytest.mark.parametrize(("kind", "rows"), [("uniform", uniform), ("reversed", reverse)])
def test_language_branch_is_the_model_with_other_rows(runs, family, kind, rows):
    run = runs(family)
    copied = eager(run.model)

    def expected(factual, inputs, tokens):
        other = with_text_rows(copied, run.appended(inputs, [tokens]), 0, rows)
        return 2.5 * factual - 1.5 * other

    run.follows(f"causalmm(modality=language;kind={kind};gamma=1.5;epsilon=0)", expected)


def test_eager_models_are_edited_as_fused_ones(runs):
    run = runs("gemma2")
    copied = eager(run.model)

    def expected(factual, inputs, tokens):
        return 2 * factual - with_text_rows(copied, run.appended(inputs, [tokens]), 1, reverse)

    spec = "causalmm(modality=language;kind=reversed;epsilon=0;text_layers=1)"
    runs("gemma2", copied).follows(spec, expected)
    assert copied.config._attn_implementation == "eager"


@pytest.mark.parametrize("family", SEEING)
@pytest.mark.parametrize("layers", [None, "0"])
def test_vision_branch_is_the_model_with_other_rows_in_its_encoder(runs, family, layers):
    run = runs(family)
    blocks = [0]
    if layers is None:
        depth = len(ModelAdapter.of(run.model).blocks)
        skips_one = family in ("llava", "llava_next")  # features of the last layer but one
        blocks = [depth - 1 - skips_one]
        blocks += [1] if family == "qwen3_vl" else []  # deepstack

    def expected(factual, inputs, tokens):
        other = with_uniform_vision(run, run.appended(inputs, [tokens]), blocks)
        return 3 * factual - 2 * other

    run.follows(
        f"causalmm(modality=vision;kind=uniform;gamma=2;epsilon=0;vision_layers={layers})", expected
    )


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_both_is_the_sum_of_two_contrasts_with_one_edit_each(runs, family):
    run = runs(family)
    copied = eager(run.model)
    blocks = list(ModelAdapter.of(run.model).feature_blocks)

    def expected(factual, inputs, tokens):
        longer = run.appended(inputs, [tokens])
        vision = with_uniform_vision(run, longer, blocks)
        language = with_text_rows(copied, longer, 0, uniform)
        kept = factual >= factual.max() + math.log(0.01)
        return (3 * factual - vision - language).masked_fill(~kept, -math.inf)

    run.follows("causalmm(kind=uniform;gamma=1;epsilon=0.01)", expected)
    with apply(run.model, "causalmm") as handle:
        run.generate(run.inputs())
    assert handle.forward_passes == 3 * 3 * 4


# --- the release --------------------------------------------------------------------------------


@torch.no_grad()
def with_scaled_features(run: Any, inputs: dict[str, Any], factor: float) -> Tensor:
    """Logits ``[V]`` of the stock model, what enters its projector multiplied."""
    projector = ModelAdapter.of(run.model).projector
    handle = projector.register_forward_pre_hook(lambda _, args: (args[0] * factor, *args[1:]))
    try:
        return run.model(**inputs, use_cache=False).logits[0, -1].float()
    finally:
        handle.remove()


@pytest.mark.parametrize("family", SQUARE)
def test_released_uniform_divides_the_features_and_acts_on_first_tokens_only(runs, family):
    run = runs(family)
    tokens_of_a_picture = 17 if family in ("llava", "llava_next", "internvl") else 16

    def expected(factual, inputs, tokens):
        if tokens:
            return factual
        return 3 * factual - 2 * with_scaled_features(run, inputs, 1 / tokens_of_a_picture)

    spec = "causalmm(modality=vision;kind=uniform;gamma=2;epsilon=0;variant=release)"
    run.follows(spec, expected)


def test_released_map_is_that_of_the_block_that_makes_the_features(runs):
    run = runs("llava")
    copied = eager(run.model)

    def expected(factual, inputs, tokens):
        if tokens:
            return factual
        tower, projector = copied.model.vision_tower, copied.model.multi_modal_projector
        with torch.no_grad():
            seen = tower(inputs["pixel_values"], output_attentions=True, output_hidden_states=True)
            maps = seen.attentions[-2]
            edited = maps.amax((-2, -1), keepdim=True) - maps
            small = torch.nn.functional.interpolate(
                edited, (4, 4), mode="bilinear", align_corners=False
            )
            features = seen.hidden_states[-2][:, 1:] * small.mean(1).flatten(1)[..., None]
            handle = projector.register_forward_pre_hook(lambda *_: (features,))
            other = copied(**inputs).logits[0, -1]
            handle.remove()
        return 2 * factual - other

    run.follows("causalmm(modality=vision;kind=reversed;epsilon=0;variant=release)", expected)


@pytest.mark.parametrize(
    ("kind", "rows"), [("uniform", released_uniform), ("reversed", released_reverse)]
)
def test_released_language_rows_are_not_renormalised(runs, kind, rows):
    run = runs("llama")
    copied = eager(run.model)

    def expected(factual, inputs, tokens):
        return factual if tokens else 2 * factual - with_text_rows(copied, inputs, 0, rows)

    run.follows(f"causalmm(modality=language;kind={kind};epsilon=0;variant=release)", expected)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_release_is_refused_where_pictures_are_no_squares(tiny, family):
    model, processor = tiny(family)
    with pytest.raises(UserError, match="needs a vision encoder that sees square pictures"):
        apply(model, "causalmm(variant=release)", processor)


# --- the ways of running ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *((family, "random") for family in SEEING),
        ("llava_next", "shuffled"),
        ("gemma3", "shuffled"),
    ],
)
def test_all_ways_of_running_agree_beside_rows_without_a_picture(runs, family, kind):
    run = runs(family)
    run.prompts[2] = Prompt("No picture here?")
    run.agrees(f"causalmm(kind={kind};gamma=2;epsilon=0.01;without_image=skip)")


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
@pytest.mark.parametrize("kind", ["random", "shuffled"])
def test_all_ways_of_running_agree_on_text(runs, family, kind):
    runs(family).agrees(f"causalmm(modality=language;kind={kind};gamma=3;epsilon=0.01)")


@pytest.mark.parametrize(("family", "kind"), [("llava", "random"), ("gemma3", "shuffled")])
def test_release_agrees_as_well(runs, family, kind):
    modality = "both" if kind == "random" else "vision"
    runs(family).agrees(
        f"causalmm(modality={modality};kind={kind};variant=release;gamma=4;epsilon=0)"
    )


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_a_prompt_has_one_counterfactual_whatever_is_scored_and_beside_it(runs, variant):
    run = runs("llava")
    prompt = run.prompts[0]
    single = run.inputs(prompt)
    both = run.inputs(prompt, run.prompts[1])
    seeds = {0: [], 1: []}
    with torch.no_grad():
        for seed, found in seeds.items():
            spec = f"causalmm(epsilon=0;seed={seed};variant={variant})"
            with apply(run.model, spec, run.processor) as handle:
                for inputs, documents, answer in (
                    (single, ["a"], [5]),
                    (single, ["a"], [5, 17, 40]),
                    (both, ["a", "b"], [9, 9, 9, 9]),
                ):
                    length = inputs["input_ids"].shape[1]
                    longer = run.appended(inputs, [answer] * len(documents))
                    with handle.request(documents=documents, prompt_length=length):
                        found.append(run.model(**longer).logits[0, length - 1])
    for found in seeds.values():
        torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[0], found[2], atol=1e-4, rtol=1e-4)
    assert (seeds[0][0] - seeds[1][0]).abs().max() > 1e-2


@pytest.mark.parametrize("modality", ["vision", "both"])
def test_rows_without_a_picture_are_left_alone(runs, modality):
    run = runs("llava")
    inputs = run.inputs(Prompt("Is it red?", (picture(1),)), Prompt("No picture here, is there?"))
    with torch.no_grad():
        plain = run.model(**inputs).logits
        with apply(run.model, f"causalmm(modality={modality};without_image=skip)"):
            found = run.model(**inputs).logits
    # a prompt that is scored has its pictures encoded apart, with the same result up to rounding
    torch.testing.assert_close(found[1], plain[1], atol=1e-6, rtol=0)
    assert (found[0] - plain[0]).abs().max() > 1e-2


def test_neutral_settings_are_absent(runs):
    assert parse("causalmm(gamma=0;epsilon=0)").plan() == Plan()
    runs("llava").is_untouched_by("causalmm(gamma=0;epsilon=0)")


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_an_error_leaves_model_and_configuration_as_they_were(runs, variant):
    run = runs("llava")
    inputs = run.inputs()
    plain = run.generate(inputs)
    configs = [run.model.config, run.model.config.text_config, run.model.config.vision_config]
    before = [config._attn_implementation for config in configs]

    def stop(*_: Any) -> None:
        raise RuntimeError("stop")

    for part in (run.model.model.multi_modal_projector, run.model.lm_head):
        handle = part.register_forward_pre_hook(stop)
        with apply(run.model, f"causalmm(variant={variant})"), pytest.raises(RuntimeError):
            run.generate(inputs)
        handle.remove()
    assert [config._attn_implementation for config in configs] == before
    assert not run.model.model.vision_tower._forward_hooks
    assert torch.equal(run.generate(inputs), plain)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("causalmm(gamma=-1)", "gamma=-1.0 must be 0 or more, and finite"),
        ("causalmm(epsilon=2)", r"epsilon=2.0 must lie in 0\.\.1"),
        ("causalmm(kind=mean)", "kind=mean is not one of random, uniform, reversed, shuffled"),
        ("causalmm(text_layers=middle)", "text_layers=middle must be a range of layers such as"),
        ("causalmm(vision_layers=3-1)", "vision_layers=3-1 must be a range of layers such as"),
        ("causalmm(variant=release;vision_layers=1)", "vision_layers=1 must be left out with"),
        ("causalmm(variant=release;kind=shuffled)", "must come with modality=vision in"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)


@pytest.mark.parametrize(
    ("family", "spec", "message"),
    [
        (
            "llava",
            "causalmm(text_layers=8-15)",
            "text_layers=8-15 goes beyond its 2 decoder layers",
        ),
        (
            "llava",
            "causalmm(vision_layers=1-3)",
            "vision_layers=1-3 goes beyond its 3 vision blocks",
        ),
        ("llama", "causalmm", "needs a picture, and the model reads text only; use modality=lang"),
    ],
)
def test_models_that_cannot_are_told_why(tiny, family, spec, message):
    model, processor = tiny(family)
    with pytest.raises(UserError, match=message):
        apply(model, spec, processor)

"""What cannot be intervened on, kinds of models and ways of generating, refused at once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.running import not_editable
from lmms_causal.interventions.plan import Branch, Plan

__all__ = [
    "check_generation",
    "check_model",
    "check_pictures",
    "check_plan",
    "obstacle",
    "without_adapters",
]

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "assistant_model": (None,),  # these three run further models, or drafts, past the branches
    "assistant_early_exit": (None,),
    "prompt_lookup_num_tokens": (None,),
    "custom_generate": (None,),
    "dola_layers": (None,),
    "penalty_alpha": (None,),
    "guidance_scale": (None, 1),  # calls the model for a branch and a cache of its own
    "prefill_chunk_size": (None,),
    "cache_implementation": (None, "dynamic", "hybrid"),  # transformers reads hybrid as None
    "past_key_values": (None,),
    "mm_encoder_outputs": (None,),  # features without the pixels they come from
}


def without_adapters(model: Any) -> Any:
    """Return the transformers model inside a PEFT model, its adapters in place, or the model.

    PEFT delegates ``forward`` and ``generate`` to the inner model, and ``generate`` calls the
    inner model's ``forward``: what is installed on the outer one would be passed by.

    Raises:
        UserError: prompt tuning, which puts virtual tokens before the prompt.
    """
    if not hasattr(model, "get_base_model"):
        return model
    if model.active_peft_config.is_prompt_learning:
        raise UserError(
            "an adapter of the prompt tuning kind cannot be combined with an intervention; "
            "use one that changes weights, such as LoRA"
        )
    return model.get_base_model()


def check_model(model: Any) -> None:
    """Refuse models that the engine cannot run.

    Raises:
        UserError: no ``generate``, an encoder-decoder, or another kind of cache.
    """
    kind = type(model).__name__
    if not hasattr(model, "generate") or not hasattr(model, "generation_config"):
        raise UserError(f"{kind} is not a generating transformers model; load one with a head")
    if model.config.is_encoder_decoder:
        raise UserError(
            f"{kind} is an encoder-decoder model; interventions on logits need a decoder-only one"
        )
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        raise UserError(
            f"{kind} does not keep past_key_values (a state-space model?); interventions on "
            "logits need an attention model"
        )


def check_generation(arguments: Mapping[str, Any], defaults: Any, *, branches: bool) -> bool:
    """Refuse ways of generating that the engine cannot follow; return whether a cache is wanted.

    Args:
        arguments: the keywords of ``generate``.
        defaults: the model's own generation config.
        branches: whether the plan has counterfactual branches.

    Raises:
        UserError: names the argument or setting.
    """
    configs = [arguments.get("generation_config"), defaults]

    def setting(name: str) -> Any:
        if name in arguments:
            return arguments[name]
        values = (getattr(config, name, None) for config in configs)
        return next((value for value in values if value is not None), None)

    for name, neutral in _NEUTRAL.items():
        if setting(name) not in neutral:
            raise UserError(
                f"generate with {name} set cannot be combined with an intervention, which runs on "
                "the default dynamic cache and decoding loop; leave it out"
            )
    if branches and arguments.get("inputs_embeds") is not None:
        raise UserError("generate(inputs_embeds=...) hides where the image is: pass input_ids")
    return setting("use_cache") is not False


def check_pictures(plan: Plan, with_image: Tensor) -> None:
    """Refuse prompts without a picture where a method needs one.

    Args:
        plan: what is run.
        with_image: which prompts ``[B]`` have one.

    Raises:
        UserError: names the branch or method.
    """
    if with_image.all():
        return
    needing = [
        f"the intervention's branch {branch.name!r}"
        for branch in (*plan.branches, *([plan.steering.negative] if plan.steering else []))
        if branch.without_image == "refuse"
    ]
    needing += [
        f"intervention {increment.method}"
        for increment in plan.increments
        if increment.without_image == "refuse"
    ]
    for name in needing:
        raise UserError(
            f"{name} needs an image in every prompt and found one without; use without_image=skip "
            "to leave such prompts untouched"
        )


def check_plan(plan: Plan, adapter: ModelAdapter) -> None:
    """Refuse a plan that cannot run on a model.

    Raises:
        UserError: says why.
    """
    reason = obstacle(plan, adapter)
    if reason is not None:
        raise UserError(f"this intervention cannot run on {adapter.kind}: {reason}")


def obstacle(plan: Plan, adapter: ModelAdapter) -> str | None:
    """Return why a plan cannot run on a model, or None if it can."""
    for requirement in plan.requirements:
        if (reason := requirement(adapter)) is not None:
            return reason
    branches = list(plan.branches)
    looks = plan.attention or any(probe.heads or probe.outputs for probe in plan.probes)
    if looks and (reason := not_editable(adapter.attention)) is not None:
        return reason
    watches = adapter.sees and any(probe.vision for probe in plan.probes)
    if watches and (reason := not_editable(adapter.vision_attention)) is not None:
        return reason
    if plan.steering is not None:
        branches.append(plan.steering.negative)
        if not adapter.mlps:
            return "its layers have no feed-forward module that could be steered"
    for increment in plan.increments:
        if increment.without_image == "refuse" and not adapter.sees:
            return (
                f"{increment.method} needs a picture, and the model reads text only; with "
                "without_image=skip it does nothing"
            )
    return next((reason for b in branches if (reason := _missing(b, adapter)) is not None), None)


def _missing(branch: Branch, adapter: ModelAdapter) -> str | None:
    if branch.without_image == "refuse" and not adapter.sees:
        return (
            f"its branch {branch.name!r} needs a picture, and the model reads text only; with "
            "without_image=skip it does nothing"
        )
    if branch.attention and (reason := not_editable(adapter.attention)) is not None:
        return reason
    if branch.vision is not None and adapter.sees and not adapter.vision_attention:
        return "the attention of its vision encoder is not where any known model has it"
    return None

"""Execute a plan on a loaded model: the forward pass that runs the branches and combines logits.

The engine replaces ``forward`` and ``generate`` on the model *instance* (whatever they are at that
moment, hooks of accelerate included) and puts them back on removal. Everything that calls the model
goes through it: ``generate`` (greedy, sampling, beams; left padding; cache or none) and plain
forward passes, as used for log-likelihoods. Logits are combined in float32 before any logits
processor, as the papers do.

Tried on tiny models of every family in :mod:`lmms_causal.testing`. All pictures of a branch are
encoded once a generation, whatever the number of beams or steps. PEFT adapters that change weights
are part of all branches. Hooks that are put on the model *after* the intervention are lost when it
is removed. What is refused, and why, is in :mod:`~lmms_causal.interventions.guards`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.cache import BranchedCache
from lmms_causal.interventions.guards import check_generation, check_model, without_adapters
from lmms_causal.interventions.media import has_pixels
from lmms_causal.interventions.plan import Branch, Plan
from lmms_causal.interventions.spec import Spec, parse

__all__ = ["Handle", "apply"]


def apply(model: Any, plan: str | Spec | Plan | None) -> Handle:
    """Put an intervention on a loaded transformers model, and return the handle that removes it.

    The handle is a context manager. Prompt rewrites of the plan need the prompt's text: the model
    wrappers of both harnesses apply them; without a harness call :meth:`Plan.rewrite` yourself.

    Raises:
        UserError: a bad spec, or a model that the engine cannot run (see ``guards``).
    """
    return Handle(model, plan if isinstance(plan, Plan) else parse(plan).plan())


class Handle:
    """An installed plan. A plan without model part installs nothing at all.

    Attributes:
        plan: the installed plan.
        forward_passes: rows sent through the decoder so far, over all branches that were run.
    """

    def __init__(self, model: Any, plan: Plan) -> None:
        self.plan = plan
        self.forward_passes = 0
        self._model = without_adapters(model) if plan.touches_model else model
        self._generating: _Generation | None = None
        self._saved: dict[str, Any] = {}
        if plan.touches_model:
            self._install()

    def remove(self) -> None:
        """Give back the untouched model. Calling it again does nothing."""
        for name, original in self._saved.items():
            if original is None:
                delattr(self._model, name)
            else:
                setattr(self._model, name, original)
        self._saved.clear()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def _install(self) -> None:
        model = self._model
        check_model(model)
        if isinstance(model.__dict__.get("forward"), _Installed):
            raise UserError(
                "this model carries an intervention already; remove it first, or compose both in "
                "one spec with '+'"
            )
        self._forward = model.forward
        self._generate = model.generate
        self._signature = inspect.signature(self._forward)
        for name, replacement in (("forward", self.forward), ("generate", self.generate)):
            original = getattr(model, name)
            self._saved[name] = model.__dict__.get(name)
            setattr(model, name, _Installed(replacement, original))

    @torch.no_grad()
    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Stand in for ``model.generate``: give it the branched cache, and clear up behind it."""
        kwargs = _as_keywords(inspect.signature(self._generate), args, kwargs)
        branches = self.plan.branches
        if check_generation(kwargs, self._model.generation_config, branches=bool(branches)):
            kwargs["past_key_values"] = BranchedCache(
                self._model.config.get_text_config(decoder=True),
                (branch.name for branch in branches),
            )
            kwargs["cache_implementation"] = None  # a checkpoint may name the default kind
        self._generating = _Generation(kwargs)
        try:
            return self._generate(**kwargs)
        finally:
            self._generating = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Stand in for ``model.forward``: run factual and branches, return combined logits."""
        inputs = _as_keywords(self._signature, args, kwargs)
        if inputs.get("labels") is not None:
            raise UserError("an intervention changes the logits only: compute the loss from them")
        as_dict = inputs.pop("return_dict", None)
        output = self._run({**inputs, "return_dict": True})
        wanted = self._model.config.return_dict if as_dict is None else as_dict
        return output if wanted else output.to_tuple()

    def _run(self, inputs: dict[str, Any]) -> Any:
        cache = inputs.get("past_key_values")
        if cache is not None and not isinstance(cache, BranchedCache):
            raise UserError(
                "a forward pass with a cache of its own cannot be intervened on: call generate, or "
                "score without past_key_values"
            )
        with_image = self._rows_with_image(inputs)
        branch_inputs = [
            (branch.name, own)
            for branch in self.plan.branches
            if (own := self._inputs_of(branch, inputs, cache, with_image)) is not None
        ]
        self.forward_passes += with_image.shape[0] * (1 + len(branch_inputs))
        output = self._forward(**inputs)
        if self.plan.branches and not branch_inputs:
            return output  # nothing to contrast with: exactly the factual output
        factual = output.logits.float()
        logits = {name: self._forward(**own).logits.float() for name, own in branch_inputs}
        scoring = self._generating is None
        combined = self.plan.combine.function(factual, logits, scoring)  # type: ignore[union-attr]
        if self.plan.branches and not with_image.all():
            shown = with_image.to(combined.device).view(-1, 1, 1)
            combined = torch.where(shown, combined, factual)
        output.logits = combined
        return output

    def _rows_with_image(self, inputs: dict[str, Any]) -> Tensor:
        """Which rows ``[B]`` show an image or a video, decided where the prompt is seen."""
        if self._generating is not None and self._generating.with_image is not None:
            return self._generating.with_image
        rows = inputs.get("input_ids")
        if rows is None:
            rows = inputs["inputs_embeds"]
        config = self._model.config
        tokens = [
            token
            for name in ("image_token_id", "video_token_id")
            if (token := getattr(config, name, None)) is not None
        ]
        shown = has_pixels(inputs) or bool(inputs.get("mm_encoder_outputs"))
        if not shown or inputs.get("input_ids") is None or not tokens:
            with_image = torch.full((rows.shape[0],), shown, device=rows.device)
        else:
            with_image = torch.isin(rows, torch.tensor(tokens, device=rows.device)).any(dim=1)
        if self._generating is not None:
            self._generating.with_image = with_image
        return with_image

    def _inputs_of(
        self,
        branch: Branch,
        inputs: dict[str, Any],
        cache: BranchedCache | None,
        with_image: Tensor,
    ) -> dict[str, Any] | None:
        """The forward inputs of a branch, or None where it equals the factual one."""
        if not with_image.all() and branch.without_image == "refuse":
            raise UserError(
                f"the intervention's branch {branch.name!r} needs an image in every prompt and "
                "found one without; use without_image=skip to leave such prompts untouched"
            )
        if not with_image.any():
            return None
        own = dict(inputs)
        if cache is not None:
            own["past_key_values"] = cache.branches[branch.name]
        else:
            own["use_cache"] = False
        if has_pixels(inputs):
            own.update(branch.media(inputs))
        elif inputs.get("mm_encoder_outputs"):
            if self._generating is None:
                raise UserError(
                    "a forward pass with mm_encoder_outputs cannot be intervened on: "
                    "pass pixel_values"
                )
            own["mm_encoder_outputs"] = self._generating.encode(self._model, branch, inputs)
        return own


class _Generation:
    """What must be remembered from the call of ``generate`` until its last forward pass."""

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self.with_image: Tensor | None = None
        self._encoded: dict[str, dict[str, Any]] = {}
        ids = kwargs.get("input_ids")
        self._prompt_ids: Any = kwargs.get("inputs") if ids is None else ids
        self._media = {
            name: value
            for name, value in kwargs.items()
            if name not in ("input_ids", "inputs", "attention_mask", "past_key_values")
        }

    def encode(self, model: Any, branch: Branch, inputs: dict[str, Any]) -> dict[str, Any]:
        """Encode the branch's pictures as ``generate`` encoded the factual ones before prefill.

        Without a cache every step asks for them; they are encoded at the first.
        """
        if branch.name not in self._encoded:
            media = {**self._media, **branch.media(self._media)}
            media.pop("mm_encoder_outputs", None)
            encoded = model._prepare_multimodal_encoder_kwargs_for_generation(media)
            outputs = encoded["mm_encoder_outputs"]
            expand = inputs["input_ids"].shape[0] // self._prompt_ids.shape[0]
            if expand > 1:  # beams, or several return sequences
                outputs = model._expand_multimodal_outputs(
                    self._prompt_ids, outputs, expand_size=expand
                )
            self._encoded[branch.name] = outputs
        return self._encoded[branch.name]


def _as_keywords(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Name the positional arguments of a call."""
    named = dict(signature.bind_partial(*args, **kwargs).arguments)
    named.update(named.pop("kwargs", {}))
    return named


class _Installed:
    """A replaced method that keeps the original's signature, which transformers inspects."""

    def __init__(self, replacement: Callable[..., Any], original: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original)
        self._replacement = replacement

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._replacement(*args, **kwargs)

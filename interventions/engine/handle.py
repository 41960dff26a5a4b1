"""Put a plan on a model instance, and take it off again.

The handle stands in for ``forward`` and ``generate`` on the model *instance* (whatever they are at
that moment, hooks of accelerate included) and puts them back on removal. Everything that calls the
model goes through it: ``generate`` (greedy, sampling, beams; left padding; cache or none) and plain
forward passes, as used for log-likelihoods. Logits are combined in float32 before any logits
processor, as the papers do.

Tried on tiny models of every family in :mod:`lmms_causal.testing`. All pictures of a branch are
encoded once a generation, whatever the number of beams or steps. PEFT adapters that change weights
are part of all branches. Hooks that are put on the model *after* the intervention are lost when it
is removed. What is refused, and why, is in :mod:`~lmms_causal.interventions.engine.guards`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.adapter.rotary import rotations
from lmms_causal.interventions.engine.cache import BranchedCache
from lmms_causal.interventions.engine.guards import (
    check_generation,
    check_model,
    check_plan,
    without_adapters,
)
from lmms_causal.interventions.engine.request import Request
from lmms_causal.interventions.engine.selection import select
from lmms_causal.interventions.engine.session import Execution, Session
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.spec import Spec, parse
from lmms_causal.kernels.rotation import Rotation

__all__ = ["Handle", "apply"]


def apply(
    model: Any,
    plan: str | Spec | Plan | None,
    processor: Any = None,
    *,
    execution: Execution = "auto",
) -> Handle:
    """Put an intervention on a loaded transformers model, and return the handle that removes it.

    The handle is a context manager. Rewrites and preparations of the plan need the question itself:
    the model wrappers of both harnesses apply them; without a harness call :meth:`Plan.rewrite` and
    :meth:`Plan.prepare` yourself.

    Args:
        model: a decoder-only model with a language-model head; a PEFT model around one.
        plan: a spec, parsed or not, or a plan.
        processor: the model's processor or tokenizer. Methods that write words need it, and it
            tells the special tokens around pictures apart in families whose configuration does not.
        execution: how branches run once their prompts are read; the answers are the same.

    Raises:
        UserError: a bad spec, a model that the engine cannot run, or a method that cannot run on
            this model.
    """
    if not isinstance(plan, Plan):
        plan = parse(plan).plan()
    return Handle(model, plan, processor, execution=execution)


class Handle:
    """An installed plan. A plan without model part installs nothing at all.

    Attributes:
        plan: the installed plan.
        forward_passes: rows sent through the decoder so far, over all branches that were run.
        adapter: the parts of the model; None if nothing is installed.
    """

    def __init__(
        self,
        model: Any,
        plan: Plan,
        processor: Any = None,
        *,
        execution: Execution = "auto",
    ) -> None:
        self.plan = plan
        self.forward_passes = 0
        self.adapter: ModelAdapter | None = None
        self._execution = execution
        self._request = Request()
        self._session: Session | None = None
        self._saved: dict[str, Any] = {}
        self._rotations: Sequence[Rotation] = ()
        if plan.touches_model or plan.preparations:
            self._model = without_adapters(model)
            check_model(self._model)
            self.adapter = ModelAdapter.of(self._model, processor)
            check_plan(plan, self.adapter)
            if plan.needs_positions:
                self._rotations = rotations(self.adapter)
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

    @contextmanager
    def request(
        self,
        *,
        documents: Sequence[str] | None = None,
        prompt_length: int | None = None,
        views: Mapping[str, Mapping[str, Any]] | None = None,
        parts: Sequence[PromptParts] | None = None,
    ) -> Iterator[None]:
        """Say what the tensors of the calls in the block do not show.

        Args:
            documents: identity of each prompt's document, which seeds random methods.
            prompt_length: columns of ``input_ids`` that are prompt, where answers are scored.
            views: pictures of branches with a view of their own, as the processor's tensors.
            parts: where the turn and the segments of each prompt are.
        """
        before = self._request
        self._request = Request(documents, prompt_length, views or {}, parts)
        try:
            yield
        finally:
            self._request = before

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The untouched model, for the time of the block."""
        installed = {name: self._model.__dict__[name] for name in self._saved}
        saved = dict(self._saved)
        self.remove()
        try:
            yield
        finally:
            self._saved = saved
            for name, replacement in installed.items():
                setattr(self._model, name, replacement)

    def _install(self) -> None:
        model = self._model
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
        """Stand in for ``model.generate``: one answer, or the best of several."""
        kwargs = _as_keywords(inspect.signature(self._generate), args, kwargs)
        if self.plan.selection is None:
            return self._generate_once(**kwargs)
        return select(self.plan.selection, self._generate_once, kwargs, self._request, self._model)

    def _generate_once(self, **kwargs: Any) -> Any:
        """Generate with a branched cache, and clear up behind it."""
        branches = self.plan.branches
        if not self.plan.changes_logits:
            return self._generate(**kwargs)
        if check_generation(kwargs, self._model.generation_config, branches=bool(branches)):
            kwargs["past_key_values"] = BranchedCache(
                self._model.config.get_text_config(decoder=True),
                (branch.name for branch in branches),
                keep_all=self.plan.keeps_all_keys,
            )
            kwargs["cache_implementation"] = None  # a checkpoint may name the default kind
        if "inputs" in kwargs and kwargs.get("input_ids") is None:
            kwargs["input_ids"] = kwargs.pop("inputs")
        self._session = self._new_session(kwargs)
        try:
            return self._generate(**kwargs)
        finally:
            self.forward_passes += self._session.passes
            self._session = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Stand in for ``model.forward``: run factual and branches, return combined logits."""
        inputs = _as_keywords(self._signature, args, kwargs)
        if not self.plan.changes_logits:
            given = inputs.get("input_ids")
            self.forward_passes += len(inputs["inputs_embeds"] if given is None else given)
            return self._forward(*args, **kwargs)
        if inputs.get("labels") is not None:
            raise UserError("an intervention changes the logits only: compute the loss from them")
        cache = inputs.get("past_key_values")
        if cache is not None and not isinstance(cache, BranchedCache):
            raise UserError(
                "a forward pass with a cache of its own cannot be intervened on: call generate, or "
                "score without past_key_values"
            )
        as_dict = inputs.pop("return_dict", None)
        inputs["return_dict"] = True
        if self._session is not None:
            output = self._session.run(inputs)
        else:
            session = self._new_session(None)
            output = session.run(inputs)
            self.forward_passes += session.passes
        wanted = self._model.config.return_dict if as_dict is None else as_dict
        return output if wanted else output.to_tuple()

    def _new_session(self, generation: Mapping[str, Any] | None) -> Session:
        assert self.adapter is not None
        return Session(
            self.adapter,
            self._forward,
            self.plan,
            self._request,
            generation,
            self._execution,
            self._rotations,
        )


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

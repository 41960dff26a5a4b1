"""``base=``: our interventions on any Hugging Face wrapper that is registered with lmms-eval."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import lmms_eval.models
import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics

from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.spec import parse
from lmms_causal.models.intervening import EscapedError, Intervening
from lmms_causal.models.loading import available_device
from lmms_causal.models.marking import unmarked
from lmms_causal.models.questions import last_user_text_rewritten
from lmms_causal.segments import strip

__all__ = ["intervened", "registered"]

_INSTALL = (
    "install what it needs (decord comes with `pip install 'lmms-causal[wrappers]'`, which takes "
    "decord2)"
)


def intervened(base: type, arguments: dict[str, Any]) -> type:
    """Return a subclass of a registered Hugging Face wrapper that carries our plan.

    It is named after both, which the results record as ``model_backend``.
    """
    spec = parse(arguments.get("interventions"))

    class Intervened(Intervening, base):  # type: ignore[misc, valid-type]
        @classmethod
        def _root(cls) -> Any:
            return lmms

        def __init__(self, **given: Any) -> None:
            super().__init__(**_placed(base, given))

        @one_line_errors
        def _run(self, verb: str, requests: list[Instance]) -> Any:
            if self._pending is not None:
                self._load()
            plan = self.spec.plan()
            requests = [_rewritten(request, plan, type(self).is_simple) for request in requests]
            try:
                results = getattr(super(), verb)(requests)
            except EscapedError as escaped:
                raise escaped.error from None
            if self.handle is not None and plan.touches_model:
                passes, self.handle.forward_passes = self.handle.forward_passes, 0
                log_metrics(0.0, 0, 0.0, {"forward_passes": passes})
            return results

        def generate_until(self, requests: list[Instance]) -> Any:
            return self._run("generate_until", requests)

        @one_line_errors
        def generate_until_multi_round(self, requests: list[Instance]) -> Any:
            reason = "its loop over rounds is for models of the simple type"
            try:
                if _holds_rounds(base):
                    return self._run("generate_until_multi_round", requests)
            except NotImplementedError as error:  # what most wrappers raise
                reason = str(error).partition("\n")[0] or "not implemented"
            raise UserError(
                f"lmms-eval's {base.__name__} holds no conversations of several rounds ({reason}); "
                "leave out base= and use the model causal"
            )

        def loglikelihood(self, requests: list[Instance]) -> Any:
            return self._run("loglikelihood", requests)

        def clean(self) -> None:
            self._uninstall()
            super().clean()

    Intervened.__name__ = f"{base.__name__}[{spec}]"
    Intervened.__module__ = base.__module__
    return Intervened


def _holds_rounds(base: type) -> bool:
    """Whether a wrapper's loop over rounds, if it has one, is for requests of its own type.

    A chat class may inherit that of the simple class, which reads other requests.
    """
    name = "generate_until_multi_round"
    owner = next(cls for cls in base.__mro__ if name in vars(cls))
    return getattr(owner, "is_simple", None) == getattr(base, "is_simple", None)


def _placed(base: type, given: dict[str, Any]) -> dict[str, Any]:
    """Fill in where to run, for wrappers whose default needs a GPU or is rejected by transformers.

    Without a GPU most defaults (``device=cuda``, ``device_map=auto``) fail; some wrappers' empty
    ``device_map`` fails everywhere. What the user gives, and defaults that work, stay.
    """
    parameters = inspect.signature(base).parameters
    chosen = given.get("device") or given.get("device_map") or available_device()
    if "device" in parameters and not given.get("device") and not torch.cuda.is_available():
        given = {**given, "device": chosen}
    if "device_map" in parameters and not given.get("device_map"):
        default = parameters["device_map"].default
        if default == "" or not torch.cuda.is_available():
            given = {**given, "device_map": chosen}
    return given


def registered(name: str, *, simple: bool) -> type:
    """Return the class behind a registered id, chat or simple type.

    Raises:
        UserError: there is none, or a package that its module needs is not installed.
    """
    available = lmms_eval.models.list_available_models()
    if name not in available:
        raise UserError(
            f"base={name}: lmms-eval has no such model{nearest(name, tuple(available))}; "
            "`lmms-eval models` lists them"
        )
    if name == "causal":
        raise UserError("base=causal: leave base out, the generic model needs none")
    try:
        return lmms_eval.models.get_model(name, force_simple=simple)
    except ImportError as error:
        raise UserError(f"base={name}: cannot be imported: {error}; {_INSTALL}") from error
    except ValueError as error:  # lmms-eval wraps import errors in this
        raise UserError(f"base={name}: {error}; {_INSTALL}") from error


def _rewritten(request: Instance, plan: Plan, simple: bool) -> Instance:
    """A copy of a request whose last user turn the plan has rewritten, without segment markers."""
    changed = copy.copy(request)
    context, *rest = request.args
    if simple:
        changed.arguments = (plan.rewrite(strip(context)), *rest)
        return changed
    to_messages: Callable[..., Any] | None = rest[0]
    if to_messages is None:  # lost in lmms-eval's request cache
        return request

    def rewritten(messages: Sequence[Any]) -> list[Any]:
        plain = list(unmarked(messages))
        return last_user_text_rewritten(plain, plan.rewrite) if plan.rewrites else plain

    @functools.wraps(to_messages)
    def rewriting(*args: Any, **kwargs: Any) -> Any:
        result = to_messages(*args, **kwargs)
        if isinstance(result, tuple):  # a later round: messages, done, outputs, information
            return (rewritten(result[0] or []), *result[1:])
        return rewritten(result)

    changed.arguments = (context, rewriting, *rest[1:])
    return changed

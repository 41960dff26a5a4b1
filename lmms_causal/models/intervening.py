"""What every model class of ours adds to its base, in either harness.

* The intervention is parsed, and refused if wrong, in the constructor; it is installed on the
  transformers model once that is loaded.
* The base class's own constructor, which loads the weights, is put off until the model is needed.
  The harness builds the tasks in between, so that a misspelt task, a missing file or a broken
  download is reported first.
* An exception inside ``generate`` reaches the user, also through wrappers that turn every
  exception into an empty answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from lmms_causal._version import __version__
from lmms_causal.errors import UserError
from lmms_causal.interventions import Handle, Spec, apply, parse
from lmms_causal.interventions.attention.backend import register
from lmms_causal.models.loading import resolve

__all__ = ["EscapedError", "Intervening"]

_NOT_WORTH_LOADING = frozenset({"accelerator", "batch_sizes", "MULTIMODAL"})  # asked for early


_LOADING_ERRORS = (AssertionError, ImportError, KeyError, OSError, TypeError, ValueError)


class EscapedError(BaseException):
    """Carries an exception past a wrapper's ``except Exception``."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Intervening:
    """Mixin that stands before a harness's model class: ``class X(Intervening, Base)``.

    Attributes:
        spec: the parsed intervention.
        handle: its installation on the loaded model; None before loading.
        shows_questions: whether questions and pictures reach the plan before they become tensors,
            as preparations and views need them. A wrapper of somebody else keeps them to itself.
    """

    spec: Spec
    handle: Handle | None = None
    shows_questions = False

    def __init__(self, interventions: str | None = None, **arguments: Any) -> None:
        self._root().__init__(self)  # rank, cache hook and the like, but no weights
        self.spec = parse(interventions)
        if not self.shows_questions and self.spec.plan().reads_questions:
            raise UserError(
                f"interventions={self.spec} reads the question and its pictures, which this "
                "wrapper does not hand out; leave out base= and use the model causal (in lm-eval "
                "causal or causal-multimodal)"
            )
        if not self.shows_questions and self.spec.plan().reads_segments:
            raise UserError(
                f"interventions={self.spec} reads the segments of a prompt, which this wrapper "
                "cannot keep apart; leave out base= and use the model causal (in lm-eval causal "
                "or causal-multimodal)"
            )
        if isinstance(arguments.get("pretrained"), str):
            arguments["pretrained"] = resolve(arguments["pretrained"])
        self._pending: dict[str, Any] | None = arguments
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            self._load()  # ranks are set up while loading, and must be before tasks are shared out

    @classmethod
    def _root(cls) -> Any:
        """Return the harness's abstract model class, whose constructor loads nothing."""
        raise TypeError(f"{cls.__name__} does not say which harness it belongs to")

    @property
    def identity(self) -> str:
        """Everything that makes an answer of this model this model's: class, weights, plan.

        Answers do not depend on how many are computed at once.
        """
        arguments = self._pending or self._arguments
        names = sorted(set(arguments) - {"batch_size", "max_batch_size"})
        listed = ",".join(f"{name}={arguments[name]}" for name in names)
        return f"{type(self).__name__}|{listed}|{self.spec}|lmms_causal {__version__}"

    def __getattr__(self, name: str) -> Any:
        """Load the model when something is asked for that only a loaded model has."""
        if (
            self.__dict__.get("_pending") is None
            or name.startswith("__")
            or name in _NOT_WORTH_LOADING
        ):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._load()
        return getattr(self, name)

    def _load(self) -> None:
        """Run the base class's constructor, keep what the harness set before, and install."""
        register()  # a wrapper's own attn_implementation may be lmms_causal
        self._arguments = self._pending or {}
        self._pending = None
        early = {
            name: value
            for name, value in self.__dict__.items()
            if name in ("task_dict", "cache_hook", "accelerator")
        }
        self._telling(super().__init__, **self._arguments)
        self.__dict__.update(early)
        self._install()

    def _telling(self, construct: Callable[..., Any], *args: Any, **arguments: Any) -> Any:
        """Construct, and tell in one line why a wrapper cannot be."""
        try:
            return construct(*args, **arguments)
        except UserError:
            raise
        except _LOADING_ERRORS as error:
            reason = str(error).strip().splitlines() or ["no reason given"]
            raise UserError(
                f"{type(self).__name__} cannot be loaded: {type(error).__name__}: {reason[0]}"
            ) from error

    def _install(self) -> None:
        model = self.model  # the property that unwraps what accelerate wraps
        if not hasattr(model, "generate"):
            raise UserError(
                f"{type(self).__name__}: interventions need a transformers model with a generate "
                f"method, not {type(model).__name__}"
            )
        self.handle = apply(model, self.spec.plan(), _reader(self))
        self._inner_generate = model.__dict__.get("generate")
        model.generate = _escaping(model.generate)

    def _uninstall(self) -> None:
        """Give the model back as it was loaded."""
        if self.handle is None:
            return
        model = self.model
        if self._inner_generate is None:
            del model.generate
        else:
            model.generate = self._inner_generate
        self._inner_generate = None
        self.handle.remove()
        self.handle = None


def _reader(wrapper: Any) -> Any:
    """A wrapper's processor, or its tokenizer, or None; an image processor alone reads no text."""
    found = (getattr(wrapper, name, None) for name in ("processor", "tokenizer"))
    return next((it for it in found if hasattr(getattr(it, "tokenizer", it), "decode")), None)


def _escaping(generate: Callable[..., Any]) -> Callable[..., Any]:
    def generate_or_escape(*args: Any, **kwargs: Any) -> Any:
        try:
            return generate(*args, **kwargs)
        except Exception as error:
            raise EscapedError(error) from error

    return generate_or_escape

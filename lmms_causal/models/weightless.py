"""lm-eval's Hugging Face classes without their weights, for what they do before those are needed.

lm-eval applies chat templates while it builds its requests, and so before anybody has looked at
the pictures. Its classes load everything in one constructor; a twin of one, whose
``_create_model`` does nothing, has the configuration, the tokenizer and all that renders a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval.models.hf_vlms import HFMultimodalLM
from lm_eval.models.huggingface import HFLM
from torch import nn

__all__ = ["renders_without_weights", "weightless"]


class _NoWeights(nn.Module):
    """What the constructors do with a model, on nothing."""

    def tie_weights(self) -> None:
        """Do nothing."""


def renders_without_weights(base: type) -> bool:
    """Whether a class is constructed as lm-eval's own two are; another might look at its model."""
    return base in (HFLM, HFMultimodalLM)


def weightless(base: type, arguments: Mapping[str, Any]) -> Any:
    """Return a twin of ``base(**arguments)`` that renders prompts and has no weights."""

    def create_no_model(self: Any, *_: Any, **__: Any) -> None:
        self._model = _NoWeights()

    twin = type(f"Weightless{base.__name__}", (base,), {"_create_model": create_no_model})
    return twin(**arguments)

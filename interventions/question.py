"""What is asked, before it becomes tokens, and what may be done to it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

    from lmms_causal.interventions.adapter import ModelAdapter

__all__ = ["Assistant", "Preparation", "Question", "Rewrite", "View"]


@dataclass(frozen=True)
class Question:
    """The user's last turn: what views and preparations read and replace.

    Attributes:
        text: the words, without placeholders.
        images: pictures, in order.
        videos: videos, in order, as the host represents them.
        key: identity of the document.
    """

    text: str
    images: tuple[Image, ...] = ()
    videos: tuple[Any, ...] = ()
    key: str = ""


class Assistant(Protocol):
    """The loaded model as a preparation uses it: greedy, and without the intervention."""

    adapter: ModelAdapter

    def ask(self, question: Question, max_new_tokens: int) -> str:
        """Return the model's answer."""
        ...

    def encode(self, question: Question) -> dict[str, Any]:
        """Return the model inputs of the prompt with this question, a batch of one."""
        ...


View = Callable[["Question"], "tuple[Image, ...]"]
"""A question to the pictures that a branch is shown instead, one for each, of the same shape: their
tensors must fit the prompt that the factual ones made."""

Rewrite = Callable[[str], str]
"""The text of the user's last turn to the text that is sent instead."""

Preparation = Callable[["Question", "Assistant"], "Question"]
"""A question, with the unchanged model at hand, to the question that is asked instead."""

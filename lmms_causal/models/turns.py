"""A conversation's turns, and the prompt that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lmms_causal.models.media import Video
from lmms_causal.models.piecewise import MEDIUM, borders_of
from lmms_causal.segments import Groups, Span

__all__ = ["Message", "Outline", "Prompt", "content_of", "last_user_turn", "text_of"]

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt: what the tokenizer reads, with its media in order of appearance.

    Attributes:
        text: the text with the family's own placeholders, generation prompt included.
        images: pictures, one for each image placeholder.
        videos: sampled videos, one for each video placeholder.
        key: identity of the document (task, id, repeat); seeds sampling. Prompts with the same key
            and text show the same media.
        question: the words of the user's last turn.
        messages: the conversation it was rendered from, pictures and videos opened, with the
            markers of its segments; None if it was rendered elsewhere.
        around: without messages, the text before and after the question; None if unknown.
        earlier: without messages, how many of the images belong to earlier turns.
        turn: without messages, where the user's last turn is in the text; None if unknown.
        segments: where segments are in the text; they are tokenised apart from each other.
    """

    text: str
    images: tuple[Image.Image, ...] = ()
    videos: tuple[Video, ...] = ()
    key: str = ""
    question: str = ""
    messages: tuple[Message, ...] | None = None
    around: tuple[str, str] | None = None
    earlier: int = 0
    turn: Span | None = None
    segments: Groups = ()

    @property
    def outline(self) -> Outline:
        """What is left of the prompt without its pixels."""
        media = (bool(self.images), bool(self.videos))
        return Outline(self.text, self.key, media, max(borders_of(self.segments), default=0))


@dataclass(frozen=True)
class Outline:
    """What can be kept of every prompt of a run, however many pictures they show.

    Attributes:
        text, key: as in :class:`Prompt`.
        media: whether it shows images, and whether videos; equal within a batch.
        border: where the last segment ends; what follows is tokenised apart. 0: no segments.
    """

    text: str
    key: str
    media: tuple[bool, bool]
    border: int = 0


def last_user_turn(messages: Sequence[Message]) -> Message | None:
    """Return the user's last turn of a conversation, or None if there is none."""
    return next((turn for turn in reversed(messages) if turn["role"] == "user"), None)


def text_of(turn: Message) -> str:
    """Return the words of a turn, its text parts on lines of their own."""
    return "\n".join(part["text"] for part in turn["content"] if part["type"] == "text")


def content_of(turn: Message) -> str:
    """Return the words of a turn, with :data:`MEDIUM` for each picture and video between them."""
    return "".join(part["text"] if part["type"] == "text" else MEDIUM for part in turn["content"])

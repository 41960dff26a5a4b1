"""From a conversation, or a rendered prompt, to the padded tensors of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.models.media import Video, open_picture, open_video, span_of

__all__ = ["Encoder", "Message", "Outline", "Prompt", "last_user_turn", "text_of", "to_device"]

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
        messages: the conversation it was rendered from, pictures and videos opened; None if it was
            rendered elsewhere.
        around: without messages, the text before and after the question; None if unknown.
        earlier: without messages, how many of the images belong to earlier turns.
    """

    text: str
    images: tuple[Image.Image, ...] = ()
    videos: tuple[Video, ...] = ()
    key: str = ""
    question: str = ""
    messages: tuple[Message, ...] | None = None
    around: tuple[str, str] | None = None
    earlier: int = 0

    @property
    def outline(self) -> Outline:
        """What is left of the prompt without its pixels."""
        return Outline(self.text, self.key, (bool(self.images), bool(self.videos)))


@dataclass(frozen=True)
class Outline:
    """What can be kept of every prompt of a run, however many pictures they show.

    Attributes:
        text, key: as in :class:`Prompt`.
        media: whether it shows images, and whether videos; equal within a batch.
    """

    text: str
    key: str
    media: tuple[bool, bool]


@dataclass(frozen=True)
class Encoder:
    """A model's tokenizer and processor behind two verbs: render a conversation, encode a batch.

    Attributes:
        tokenizer: pads on the left.
        processor: None for a text model.
        chat_template: a Jinja template to use instead of the model's own.
        num_frames: frames sampled, evenly, from every video.
    """

    tokenizer: Any
    processor: Any | None = None
    chat_template: str | None = None
    num_frames: int = 32

    def render(self, messages: Sequence[Message], key: str = "") -> Prompt:
        """Apply the chat template to messages whose content is a list of typed parts.

        Parts are ``{"type": "text", "text"}``, ``{"type": "image", "image"}`` (a picture or a path)
        and ``{"type": "video", "video"}`` (a path, frames, or an opened video). A model without a
        video processor gets the frames as pictures; the prompt's messages still hold the video.

        Raises:
            UserError: media for a text model; no chat template where one is needed; an unreadable
                picture or video.
        """
        opened = tuple(
            {
                "role": message["role"],
                "content": [self._opened(part, key) for part in message["content"]],
            }
            for message in messages
        )
        images: list[Image.Image] = []
        videos: list[Video] = []
        turns = []
        for message in opened:
            parts: list[dict[str, Any]] = []
            for part in message["content"]:
                if part["type"] == "text":
                    parts.append(part)
                elif part["type"] == "image":
                    images.append(part["image"])
                    parts.append({"type": "image"})
                elif getattr(self.processor, "video_processor", None) is not None:
                    videos.append(part["video"])
                    parts.append({"type": "video"})
                else:
                    frames = part["video"].frames
                    images.extend(Image.fromarray(frame) for frame in frames)
                    parts.extend({"type": "image"} for _ in frames)
            turns.append({"role": message["role"], "content": parts})
        if (images or videos) and self.processor is None:
            raise UserError(f"{key}: the prompt shows an image, but the model reads text only")
        asked = last_user_turn(opened)
        return Prompt(
            text=self._render(turns, key),
            images=tuple(images),
            videos=tuple(videos),
            key=key,
            question=text_of(asked) if asked else "",
            messages=opened,
        )

    def _opened(self, part: Message, key: str) -> dict[str, Any]:
        """A part with its picture decoded, or its video sampled."""
        if part["type"] == "text":
            return {"type": "text", "text": part["text"]}
        if part["type"] == "image":
            return {"type": "image", "image": open_picture(part["image"], key)}
        if part["type"] == "video":
            source, span = span_of(part)
            return {"type": "video", "video": open_video(source, self.num_frames, span, key)}
        raise UserError(f"{key}: a prompt with {part['type']} is not supported")

    def _render(self, turns: list[dict[str, Any]], key: str) -> str:
        renderer = self.processor or self.tokenizer
        template = self.chat_template or getattr(renderer, "chat_template", None)
        template = template or getattr(self.tokenizer, "chat_template", None)
        if template is None:
            if self.processor is not None:
                raise UserError("the model has no chat template; pass chat_template=FILE")
            return "\n\n".join(text_of(turn) for turn in turns)
        if self.processor is None:
            turns = [{"role": turn["role"], "content": text_of(turn)} for turn in turns]
        try:
            return renderer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, chat_template=template
            )
        except TemplateError as error:  # some templates know no system prompt, for example
            raise UserError(f"{key}: the model's chat template refuses: {error}") from error

    def encode(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Tokenize and process a batch, padded on the left to ``[B, L]``.

        All prompts of a batch must show the same kinds of media (:attr:`Outline.media`): several
        processors reject a mixture.
        """
        texts = [prompt.text for prompt in prompts]
        options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        if _starts_with_bos(texts, self.tokenizer):
            options["add_special_tokens"] = False
        if self.processor is None:
            return dict(self.tokenizer(texts, **options))
        images = [list(prompt.images) for prompt in prompts]
        videos = [video for prompt in prompts for video in prompt.videos]
        if videos:
            options["do_sample_frames"] = False
            if all(video.metadata is not None for video in videos):
                options["video_metadata"] = [video.metadata for video in videos]
        return dict(
            self.processor(
                text=texts,
                images=images if any(images) else None,
                videos=[video.frames for video in videos] or None,
                **options,
            )
        )

    def continuation(self, prompt: Outline, continuation: str) -> list[int]:
        """Return the token ids that ``continuation`` adds after the prompt.

        Blanks at the prompt's end belong to the continuation, and both are tokenised together, so
        that word boundaries come out as in lm-eval.

        Raises:
            UserError: the continuation adds no token.
        """
        context = prompt.text
        special = not _starts_with_bos([context], self.tokenizer)
        stripped = _without_trailing_blanks(context)
        whole = self.tokenizer(context + continuation, add_special_tokens=special)["input_ids"]
        prefix = self.tokenizer(stripped, add_special_tokens=special)["input_ids"]
        added = whole[len(prefix) :]
        if not added:
            raise UserError(
                f"{prompt.key}: the continuation {continuation!r} adds no token to score"
            )
        return added

    def context(self, prompt: Prompt) -> Prompt:
        """Return the prompt that the tokens of :meth:`continuation` follow."""
        return replace(prompt, text=_without_trailing_blanks(prompt.text))


def last_user_turn(messages: Sequence[Message]) -> Message | None:
    """Return the user's last turn of a conversation, or None if there is none."""
    return next((turn for turn in reversed(messages) if turn["role"] == "user"), None)


def text_of(turn: Message) -> str:
    """Return the words of a turn, its text parts on lines of their own."""
    return "\n".join(part["text"] for part in turn["content"] if part["type"] == "text")


def to_device(inputs: Mapping[str, Any], device: Any, dtype: torch.dtype) -> dict[str, Any]:
    """Move tensors to the model's device, and pixels to its dtype."""

    def move(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype) if value.is_floating_point() else value.to(device)

    return {name: move(value) for name, value in inputs.items()}


def _without_trailing_blanks(text: str) -> str:
    return text.rstrip(" ") if text.strip() else text


def _starts_with_bos(texts: Sequence[str], tokenizer: Any) -> bool:
    return bool(tokenizer.bos_token) and texts[0].startswith(tokenizer.bos_token)

"""From a conversation, or a rendered prompt, to the padded tensors of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.models.media import Video, open_picture, open_video, span_of
from lmms_causal.models.piecewise import (
    SeparatingReader,
    borders_of,
    in_tokens,
    joined,
    located,
    separated,
)
from lmms_causal.models.turns import (
    Message,
    Outline,
    Prompt,
    content_of,
    last_user_turn,
    text_of,
)
from lmms_causal.segments import SEPARATOR, Groups, strip

__all__ = ["Encoder", "Message", "Outline", "Prompt", "last_user_turn", "text_of", "to_device"]


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
        Markers around segments of the last user turn become :attr:`Prompt.segments`.

        Raises:
            UserError: media for a text model; no chat template where one is needed; an unreadable
                picture or video; markers that a chat template does not keep in their places.
        """
        opened = tuple(
            {
                "role": message["role"],
                "content": [self._opened(part, key) for part in message["content"]],
            }
            for message in messages
        )
        turns, images, videos = self._shown(opened)
        if (images or videos) and self.processor is None:
            raise UserError(f"{key}: the prompt shows an image, but the model reads text only")
        asked = last_user_turn(opened)
        text, segments = located(self.template(turns, key), content_of(asked) if asked else "", key)
        return Prompt(
            text=text,
            images=images,
            videos=videos,
            key=key,
            question=strip(text_of(asked)) if asked else "",
            messages=opened,
            segments=segments,
        )

    def _shown(
        self, opened: Sequence[Message]
    ) -> tuple[list[dict[str, Any]], tuple[Image.Image, ...], tuple[Video, ...]]:
        """What the template is given, and the pictures and videos for its placeholders."""
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
        return turns, tuple(images), tuple(videos)

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

    def with_other_words(self, prompt: Prompt, words: str) -> str:
        """Return a prompt's text with the last user turn replaced, pictures and all, by words."""
        messages = prompt.messages or ()
        asked = last_user_turn(messages)
        other = {"role": "user", "content": [{"type": "text", "text": words}]}
        turns, _, _ = self._shown([other if turn is asked else turn for turn in messages])
        return self.template(turns, prompt.key)

    def template(self, turns: list[dict[str, Any]], key: str) -> str:
        """Return the text of a conversation whose pictures are placeholders.

        Raises:
            UserError: as :meth:`render`.
        """
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
        return self.encode_segments(prompts)[0]

    def encode_segments(self, prompts: Sequence[Prompt]) -> tuple[dict[str, Any], list[Groups]]:
        """Encode a batch; return also where the segments of each prompt are, in tokens.

        Raises:
            UserError: the processor does not keep segments apart.
        """
        if not any(prompt.segments for prompt in prompts):
            inputs = _processed(self, prompts, [prompt.text for prompt in prompts])
            return inputs, [()] * len(prompts)
        inputs, places = self.encode_apart(prompts, [borders_of(it.segments) for it in prompts])
        return inputs, [
            in_tokens(prompt.segments, found, prompt.key)
            for prompt, found in zip(prompts, places, strict=True)
        ]

    def encode_apart(
        self, prompts: Sequence[Prompt], borders: Sequence[Sequence[int]]
    ) -> tuple[dict[str, Any], list[list[int]]]:
        """Encode a batch whose texts are cut at borders; return also how many tokens precede each.

        Args:
            borders: for each prompt, places in its text.
        """
        texts = [
            separated(prompt.text, places) for prompt, places in zip(prompts, borders, strict=True)
        ]
        inputs = _processed(self.separating, prompts, texts)
        return joined(inputs, self.separating.id, self.tokenizer.pad_token_id)

    @cached_property
    def separating(self) -> SeparatingReader:
        """Copies of tokenizer and processor for prompts with segments, made once."""
        return SeparatingReader.of(self.tokenizer, self.processor)

    def starts_with_bos(self, text: str) -> bool:
        """Whether a text begins with the token that the tokenizer would put before it."""
        return _starts_with_bos(text, self.tokenizer)

    def continuation(self, prompt: Outline, continuation: str) -> list[int]:
        """Return the token ids that ``continuation`` adds after the prompt.

        Blanks at the prompt's end belong to the continuation, and both are tokenised together, so
        that word boundaries come out as in lm-eval. Behind segments that is the piece after the
        last of them.

        Raises:
            UserError: the continuation adds no token.
        """
        context = prompt.text
        if prompt.border:
            tokenizer, special = self.separating.tokenizer, False
            context = SEPARATOR + context[prompt.border :]
        else:
            tokenizer, special = self.tokenizer, not self.starts_with_bos(context)
        stripped = _without_trailing_blanks(context)
        whole = tokenizer(context + continuation, add_special_tokens=special)["input_ids"]
        prefix = tokenizer(stripped, add_special_tokens=special)["input_ids"]
        added = whole[len(prefix) :]
        if not added:
            raise UserError(
                f"{prompt.key}: the continuation {continuation!r} adds no token to score"
            )
        return added

    def context(self, prompt: Prompt) -> Prompt:
        """Return the prompt that the tokens of :meth:`continuation` follow."""
        border = prompt.outline.border
        if not border:
            return replace(prompt, text=_without_trailing_blanks(prompt.text))
        return replace(prompt, text=prompt.text[:border] + prompt.text[border:].rstrip(" "))


def to_device(inputs: Mapping[str, Any], device: Any, dtype: torch.dtype) -> dict[str, Any]:
    """Move tensors to the model's device, and pixels to its dtype."""

    def move(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype) if value.is_floating_point() else value.to(device)

    return {name: move(value) for name, value in inputs.items()}


def _without_trailing_blanks(text: str) -> str:
    return text.rstrip(" ") if text.strip() else text


def _starts_with_bos(text: str, tokenizer: Any) -> bool:
    return bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)


def _processed(
    reader: Encoder | SeparatingReader, prompts: Sequence[Prompt], texts: Sequence[str]
) -> dict[str, Any]:
    """The tensors of a batch, by its tokenizer and processor, with other texts than its own."""
    options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
    if _starts_with_bos(prompts[0].text, reader.tokenizer):
        options["add_special_tokens"] = False
    if reader.processor is None:
        return dict(reader.tokenizer(list(texts), **options))
    images = [list(prompt.images) for prompt in prompts]
    videos = [video for prompt in prompts for video in prompt.videos]
    if videos:
        options["do_sample_frames"] = False
        if all(video.metadata is not None for video in videos):
            options["video_metadata"] = [video.metadata for video in videos]
    return dict(
        reader.processor(
            text=list(texts),
            images=images if any(images) else None,
            videos=[video.frames for video in videos] or None,
            **options,
        )
    )

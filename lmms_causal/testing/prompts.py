"""Prompts with pictures for the tiny families, as conversations and as model inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["Prompt", "encode", "picture", "video"]


def picture(seed: int = 0, width: int = 50, height: int = 38) -> Image.Image:
    """Return a picture of coloured blocks and noise, the same for the same arguments."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, size=(4, 5, 3)).repeat(16, axis=0).repeat(16, axis=1)
    noise = random.integers(-20, 21, size=blocks.shape)
    pixels = np.clip(blocks + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((width, height))


def video(seed: int = 0, frames: int = 4, size: int = 40) -> np.ndarray:
    """Return frames ``[T, H, W, 3]`` in bytes, the same for the same arguments."""
    return np.stack([np.asarray(picture(seed * 100 + t, size, size)) for t in range(frames)])


@dataclass(frozen=True)
class Prompt:
    """A user's turn.

    Attributes:
        text: the question.
        images: shown before it.
        videos: frames ``[T, H, W, 3]`` in bytes, shown before it.
        system: a system message, or none.
    """

    text: str
    images: tuple[Image.Image, ...] = ()
    videos: tuple[np.ndarray, ...] = ()
    system: str | None = None

    def messages(self) -> list[dict[str, Any]]:
        """Return the conversation in the format of the processors' chat templates."""
        content: list[dict[str, Any]] = [{"type": "image", "image": it} for it in self.images]
        content += [{"type": "video", "video": frames} for frames in self.videos]
        content.append({"type": "text", "text": self.text})
        turns: list[dict[str, Any]] = []
        if self.system is not None:
            turns.append({"role": "system", "content": [{"type": "text", "text": self.system}]})
        return [*turns, {"role": "user", "content": content}]


def encode(processor: Any, prompts: Sequence[Prompt]) -> Any:
    """Return the model inputs of a left-padded batch, for a processor or a plain tokenizer."""
    texts = [
        processor.apply_chat_template(prompt.messages(), add_generation_prompt=True, tokenize=False)
        for prompt in prompts
    ]
    tokenizer = getattr(processor, "tokenizer", processor)
    options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
    if tokenizer.bos_token and texts[0].startswith(tokenizer.bos_token):
        options["add_special_tokens"] = False
    if tokenizer is processor:
        return tokenizer(texts, **options)
    images = [list(prompt.images) for prompt in prompts]
    videos = [frames for prompt in prompts for frames in prompt.videos]
    if any(images):
        options["images"] = images
    if videos:
        options["videos"] = videos
    return processor(text=texts, padding_side="left", **options)

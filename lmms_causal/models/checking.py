"""Render every prompt once before the weights load, so that a broken input stops the run early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import overload

from tqdm import tqdm

from lmms_causal.models.turns import Outline, Prompt

__all__ = ["CheckedPrompts"]

_WORKERS = 4
_KEPT_PIXELS = 2**28  # pixels kept in memory (0.8 GB of RGB); what is beyond is rendered again


class CheckedPrompts(Sequence[Prompt]):
    """A sequence of prompts that have all been rendered once without an error.

    Rendering opens and decodes the images, which downloads them where a task does that. Prompts are
    kept up to a memory budget, and rendered again on access beyond it.
    """

    def __init__(self, count: int, render: Callable[[int], Prompt], *, quiet: bool = False) -> None:
        self._render = render
        self._kept: dict[int, Prompt] = {}
        self.outlines: list[Outline] = []
        pixels = 0
        with ThreadPoolExecutor(_WORKERS) as pool:
            rendered = pool.map(render, range(count))
            bar = tqdm(rendered, total=count, desc="Checking inputs", disable=quiet)
            try:
                for index, prompt in enumerate(bar):
                    self.outlines.append(prompt.outline)
                    pixels += _pixels(prompt)
                    if pixels <= _KEPT_PIXELS:
                        self._kept[index] = prompt
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def __len__(self) -> int:
        return len(self.outlines)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...
    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        kept = self._kept.get(index)
        return kept if kept is not None else self._render(index)


def _pixels(prompt: Prompt) -> int:
    """Pixels that a prompt keeps in memory, with those of videos shown as pictures."""
    parts = (part for turn in prompt.messages or () for part in turn["content"])
    kept = {id(part["video"]): part["video"] for part in parts if part["type"] == "video"}
    kept.update((id(video), video) for video in prompt.videos)
    stills = sum(image.width * image.height for image in prompt.images)
    return stills + sum(video.frames[..., 0].size for video in kept.values())

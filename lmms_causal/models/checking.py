"""Render every prompt once before the weights load, so that a broken input stops the run early."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import overload

from tqdm import tqdm

from lmms_causal.models.turns import Outline, Prompt

__all__ = ["CheckedPrompts", "check_prompts"]

_WORKERS = 4
_AHEAD = 2 * _WORKERS  # prompts rendered before anybody asked for them, pictures and all
_KEPT_PIXELS = 2**28  # pixels kept in memory (0.8 GB of RGB); what is beyond is rendered again


def check_prompts(count: int, render: Callable[[int], Prompt], *, quiet: bool = False) -> None:
    """Render every prompt once and keep none; a few at a time are in memory.

    Raises:
        UserError: what the first prompt that cannot be rendered raises, and whatever else it does.
    """
    for _ in _rendered(count, render, quiet):
        pass


def _rendered(count: int, render: Callable[[int], Prompt], quiet: bool) -> Iterator[Prompt]:
    """Yield all prompts in order; several threads render them, never far ahead."""
    numbers = iter(range(count))
    waiting: deque[Future[Prompt]] = deque()
    with (
        ThreadPoolExecutor(_WORKERS) as pool,
        tqdm(total=count, desc="Checking inputs", disable=quiet) as bar,
    ):
        try:
            waiting.extend(pool.submit(render, index) for index in islice(numbers, _AHEAD))
            while waiting:
                prompt = waiting.popleft().result()
                waiting.extend(pool.submit(render, index) for index in islice(numbers, 1))
                bar.update()
                yield prompt
                del prompt  # before the next is waited for
        finally:
            for future in waiting:
                future.cancel()


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
        for index, prompt in enumerate(_rendered(count, render, quiet)):
            self.outlines.append(prompt.outline)
            pixels += _pixels(prompt)
            if pixels <= _KEPT_PIXELS:
                self._kept[index] = prompt

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

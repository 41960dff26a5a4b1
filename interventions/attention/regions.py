"""Where the pictures, the question and the segments of a prompt are, as patterns are told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.spans import QUESTION
from lmms_causal.kernels.patterns import Region

if TYPE_CHECKING:
    from lmms_causal.interventions.adapter import ModelAdapter

__all__ = ["REGIONS", "regions", "with_pictures"]

REGIONS = frozenset({"image", "question", "segment"})
"""The names that prompts have regions of."""


def regions(layout: Layout, row: int) -> tuple[Region, ...]:
    """Return the regions of one row, in positions of its content.

    ``image`` is each view of a picture, ``question`` the user's turn after the last picture, and
    ``segment`` each declared segment.
    """
    padding = int(layout.real[row].long().argmax())
    found = []
    if layout.pictures is not None:
        for start, stop, number in _runs(layout.pictures[row]):
            grid = layout.grids[number - 1]
            whole = math.prod(grid) == stop - start  # a branch may have lost tokens of it
            found.append(Region("image", start, stop, grid if grid and whole else ()))
    question = QUESTION.resolve(layout)[row].int()
    found += [Region("question", start, stop) for start, stop, _ in _runs(question)]
    for group in layout.groups(row):
        found += [Region("segment", start, stop) for start, stop, _ in group]
    return tuple(Region(it.name, it.start - padding, it.stop - padding, it.grid) for it in found)


def with_pictures(
    layout: Layout,
    inputs: Mapping[str, Any],
    adapter: ModelAdapter,
    given: Mapping[str, Any],
) -> Layout:
    """Return a layout that knows the views of pictures, and how their tokens lie on them.

    A view is a picture, a tile of it or a video, as far as its tokens are neighbours. Where
    pictures are cut into tiles that lie in no rectangle (LLaVA-NeXT), that of the whole picture has
    extents and what follows has none.

    Args:
        layout: of the batch.
        inputs: holds ``input_ids [R, N]``, rows made of one prompt next to each other.
        adapter: the model.
        given: holds the prompts' ``input_ids`` and, where the family has them, ``image_grid_thw``
            and ``video_grid_thw``, once for each prompt. ``generate`` encodes pictures before the
            first pass, which is not given them any more.
    """
    ids: Tensor = inputs["input_ids"]
    visual = adapter.is_visual(ids)
    grids: list[tuple[int, ...]] = []
    pictures = torch.zeros_like(ids, dtype=torch.int32)
    videos = _Grids(given.get("video_grid_thw"), adapter)
    images = _Grids(given.get("image_grid_thw"), adapter)
    video = getattr(adapter.model.config, "video_token_id", None)
    prompts = given.get("input_ids")
    repeats = 1 if prompts is None else max(1, len(ids) // len(prompts))
    for row in range(len(ids)):
        if row % repeats:
            pictures[row] = pictures[row - 1]
            continue
        for start, stop, _ in _runs(visual[row].int()):
            moving = video is not None and int(ids[row, start]) == video
            known = videos if moving else images
            for size, grid in _views(stop - start, known, moving, layout.side, adapter):
                grids.append(grid)
                pictures[row, start : start + size] = len(grids)
                start += size
    return replace(layout, pictures=pictures, grids=tuple(grids))


class _Grids:
    """Extents in tokens that a processor gave, in the order of the prompts' pictures."""

    def __init__(self, given: Tensor | None, adapter: ModelAdapter) -> None:
        vision = getattr(adapter.model.config, "vision_config", None)
        merge = int(getattr(vision, "spatial_merge_size", 1) or 1)
        self._left = [
            (int(t), int(h) // merge, int(w) // merge)
            for t, h, w in ([] if given is None else given.tolist())
        ]

    def take(self, count: int) -> tuple[int, ...]:
        """The extents of the next view if it has ``count`` tokens: all frames, or one of them."""
        if not self._left:
            return ()
        frames, height, width = self._left[0]
        if count == frames * height * width:
            del self._left[0]
            return (height, width) if frames == 1 else (frames, height, width)
        if count == height * width:
            self._left[0] = (frames - 1, height, width)
            return (height, width)
        return ()


def _views(
    count: int, known: _Grids, moving: bool, side: int | None, adapter: ModelAdapter
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The views that a run of visual tokens is made of: how many tokens, and their extents."""
    if side is not None and count % side**2 == 0:
        yield from [(side**2, (side, side))] * (count // side**2)
        return
    family = adapter.family
    whole = None if family is None else family.overview_tokens(adapter.model.config)
    if family is not None and family.overview == "first" and whole and not moving:
        if count >= whole and math.isqrt(whole) ** 2 == whole:
            yield whole, (math.isqrt(whole),) * 2
            count -= whole
        if count:
            yield count, ()
        return
    yield count, known.take(count)


def _runs(labels: Tensor) -> list[tuple[int, int, int]]:
    """Neighbours ``[N]`` with one label that is not 0, as ``(start, stop, label)``."""
    edges = (labels[1:] != labels[:-1]).nonzero()[:, 0] + 1
    places = [0, *edges.tolist(), len(labels)]
    found = [(start, stop, int(labels[start])) for start, stop in pairwise(places) if stop > start]
    return [run for run in found if run[2]]

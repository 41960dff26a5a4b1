"""A key/value cache for several branches: side by side at first, one batch from then on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import LongTensor, Tensor
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

__all__ = ["BranchedCache"]


class BranchedCache(DynamicCache):
    """The factual cache, with a cache for each branch in ``branches``.

    Prompts of different branches differ in length, so each fills a cache of its own. Then
    :meth:`stack` joins them to one batch, the factual rows first, the branches' rows behind them in
    the order named, shorter prompts padded on the left: from there on one pass serves all branches.

    ``generate`` reorders, repeats, selects and crops the cache it knows, the factual one; the
    branches follow, so that beam search and several return sequences stay correct.
    """

    def __init__(self, config: Any, branches: Iterable[str], *, keep_all: bool = False) -> None:
        """Make empty caches.

        Args:
            config: of the decoder.
            branches: names of the branches.
            keep_all: whether layers with a window keep what has left it.
        """
        config = None if keep_all else config
        super().__init__(config=config)
        self.branches = {name: DynamicCache(config=config) for name in branches}
        self.blocks = 1

    @property
    def stackable(self) -> bool:
        """Whether all layers keep plain keys and values, with or without a window."""
        kinds = (DynamicLayer, DynamicSlidingWindowLayer)
        caches = (self, *self.branches.values())
        return all(type(layer) in kinds for cache in caches for layer in cache.layers)

    def stack(self, names: Sequence[str]) -> None:
        """Join the named branches to the factual rows, and let go of all branches."""
        others = [self.branches[name] for name in names]
        layers: list[Any] = list(self.layers)
        for index, layer in enumerate(layers):
            parts: list[Any] = [layer, *(other.layers[index] for other in others)]
            if not layer.is_initialized:  # a layer that shares another's keys
                continue
            kept = max(part.keys.shape[-2] for part in parts)
            layer.keys = torch.cat([_widened(part.keys, kept) for part in parts])
            layer.values = torch.cat([_widened(part.values, kept) for part in parts])
            if isinstance(layer, DynamicSlidingWindowLayer):
                layer.cumulative_length = max(part.cumulative_length for part in parts)
            for part in parts[1:]:
                part.reset()
        self.blocks = 1 + len(names)
        self.branches.clear()

    def _of_all_blocks(self, rows: Any) -> Any:
        """Indices of factual rows to those of the same rows in every block."""
        if self.blocks == 1:
            return rows
        layers: list[Any] = list(self.layers)
        size = next(layer.keys.shape[0] for layer in layers if layer.is_initialized)
        starts = torch.arange(self.blocks, device=rows.device) * (size // self.blocks)
        return (rows[None] + starts[:, None]).flatten()

    def reorder_cache(self, beam_idx: LongTensor) -> None:
        """Keep the rows ``beam_idx`` ``[B]`` in every branch."""
        super().reorder_cache(self._of_all_blocks(beam_idx))
        for cache in self.branches.values():
            cache.reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row ``repeats`` times in every branch."""
        super().batch_repeat_interleave(repeats)
        for cache in self.branches.values():
            cache.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Select rows in every branch."""
        super().batch_select_indices(self._of_all_blocks(indices))
        for cache in self.branches.values():
            cache.batch_select_indices(indices)

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the newest ``tokens_to_remove`` positions of every branch, as the base class."""
        super().crop(tokens_to_remove)
        for cache in self.branches.values():
            cache.crop(tokens_to_remove)

    def reset(self) -> None:
        """Empty every branch."""
        super().reset()
        for cache in self.branches.values():
            cache.reset()


def _widened(states: Tensor, length: int) -> Tensor:
    """Keys or values ``[B, H, n, d]`` padded on the left to ``length`` positions."""
    missing = length - states.shape[-2]
    return pad(states, (0, 0, missing, 0)) if missing else states

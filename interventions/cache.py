"""A key/value cache that carries one further cache for each counterfactual branch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import LongTensor, Tensor
from transformers import DynamicCache

__all__ = ["BranchedCache"]


class BranchedCache(DynamicCache):
    """The factual cache, with ``branches[name]`` beside it.

    ``generate`` reorders, repeats, selects and crops the cache it knows, the factual one; the
    branches follow, so that beam search and several return sequences stay correct.
    """

    def __init__(self, config: Any, branches: Iterable[str]) -> None:
        super().__init__(config=config)
        self.branches = {name: DynamicCache(config=config) for name in branches}

    def reorder_cache(self, beam_idx: LongTensor) -> None:
        """Keep the rows ``beam_idx`` ``[B]`` in every branch."""
        super().reorder_cache(beam_idx)
        for cache in self.branches.values():
            cache.reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row ``repeats`` times in every branch."""
        super().batch_repeat_interleave(repeats)
        for cache in self.branches.values():
            cache.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Select rows in every branch."""
        super().batch_select_indices(indices)
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

"""Where the entries of attention are, and what an edit's function is told beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lmms_causal.interventions.attention.layout import Layout

__all__ = ["Coordinates"]


@dataclass(frozen=True)
class Coordinates:
    """Where the entries of a weight tensor are, independently of padding, cache and batch.

    Attributes:
        layer: index of the layer in its tower.
        queries: index ``[R, q]`` of each query, counted from the row's first real token.
        keys: index ``[R, n]`` of each key; negative for padding.
        seeds: a number a row ``[R]``, a function of its document.
        layout: what all columns up to now are; None in a vision encoder.
        query_columns: column ``[q]`` of each query.
        key_columns: column ``[n]`` of each key.
        probe: what the edit's probe found in this layer, if it reads one: outputs of each head
            ``[R, H, d]`` at the last token of the probe's prompt, or ``[R, L', H, d]`` at all; for
            an edit of the residual stream its states ``[R, L', D]``.
        memory: kept by the edit from pass to pass of one generation, for this layer.
        vision: what the probe found in the vision encoder, by its layer; see
            :attr:`~lmms_causal.interventions.contributions.Probe.vision`.
        counterparts: for each column ``[R, L]`` of the prompt the column of the probe's prompt that
            stands for it; -1 for none.
        tokens: ids ``[R, q]`` of the queries; known to edits of the residual stream.
    """

    layer: int
    queries: Tensor
    keys: Tensor
    seeds: tuple[int, ...]
    layout: Layout | None = None
    query_columns: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    key_columns: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    probe: Tensor | None = None
    memory: dict[str, Any] = field(default_factory=dict)
    vision: Mapping[int, Tensor] = field(default_factory=dict)
    counterparts: Tensor | None = None
    tokens: Tensor | None = None

    def of_probe(self) -> tuple[Tensor, Tensor]:
        """Return what the probe found at the counterpart of each query, and where there is one.

        Returns:
            ``[R, q, ...]``, and bool ``[R, q]``. What is generated has no counterpart.
        """
        assert self.probe is not None and self.counterparts is not None
        assert self.layout is not None
        width = self.counterparts.shape[1]
        index = self.query_columns.to(self.counterparts.device) - self.layout.prompt_end + width
        column = self.counterparts[:, index.clamp(0, width - 1)]
        there = (column >= 0) & (index >= 0) & (index < width)
        place = column.clamp(min=0).to(self.probe.device)
        rows = torch.arange(len(place), device=place.device)[:, None]
        return self.probe[rows, place], there.to(self.probe.device)

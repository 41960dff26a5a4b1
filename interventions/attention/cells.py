"""Rows of a batch that share edits in one pass, and the cells that an edit means in one layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.edits import AttentionEdit
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.spans import ALL, Span
from lmms_causal.kernels.rotation import Rotation

__all__ = ["Cells", "Part"]


@dataclass(frozen=True)
class Part:
    """Rows of a batch that share edits, in one pass.

    Attributes:
        rows: the rows, a slice of the batch.
        edits: edits by layer.
        padding: number of padding tokens ``[R]`` on the left of each row; one for all if ``[1]``.
        end: columns of the batch up to and including this pass's queries; None where there is no
            cache, and keys and queries are the same tokens.
        seeds: a number a row ``[R]``, a function of its document.
        layout: what the columns are; None in a vision encoder, where no edit names a span.
        probes: by name and layer, outputs of all heads ``[R, H, d]`` at a probe's last token.
        vision: by name and block, attention ``[pictures, 2, T]`` in the vision encoder.
        counterparts: by name, for each column ``[R, L]`` of the prompt that of a probe's prompt.
        memory: what edits keep from pass to pass, by edit and layer.
        positions: position of each column, ``[R, N]``, or ``[axes, R, N]``; None where no edit
            reads it.
        rotations: of each layer, where an edit reads them.
    """

    rows: slice
    edits: Mapping[int, Sequence[AttentionEdit]]
    padding: Tensor
    end: int | None
    seeds: tuple[int, ...]
    layout: Layout | None = None
    probes: Mapping[str, Mapping[int, Tensor]] = field(default_factory=dict)
    vision: Mapping[str, Mapping[int, Tensor]] = field(default_factory=dict)
    counterparts: Mapping[str, Tensor | None] = field(default_factory=dict)
    memory: dict[Any, dict[str, Any]] = field(default_factory=dict)
    positions: Callable[[], Tensor] | None = None
    rotations: Sequence[Rotation] = ()
    _resolved: dict[Span, Tensor] = field(default_factory=dict)

    def span(self, span: Span) -> Tensor | None:
        """Which columns are in a span ``[R, N]``; None if all are, or none has a name."""
        if span == ALL or self.layout is None:
            return None
        if span not in self._resolved:
            self._resolved[span] = span.resolve(self.layout)
        return self._resolved[span]


class Cells:
    """Coordinates of one call's queries and keys.

    Args:
        part: the rows.
        layer: index of the layer.
        call: the call for these rows, all heads.

    Attributes:
        heads: number of query heads, and of key heads.
        end: the column behind the last query.
    """

    def __init__(self, part: Part, layer: int, call: Call) -> None:
        length, count = call.query.shape[2], call.key.shape[2]
        device = call.query.device
        # the newest key is the last query's own, also in a cache that has forgotten old ones
        end = count if part.end is None else part.end
        self.part = part
        self.layer = layer
        self.heads = (call.query.shape[1], call.key.shape[1])
        self.end = end
        self.query_columns = torch.arange(end - length, end, device=device)
        self.key_columns = torch.arange(end - count, end, device=device)
        self.device = device

    def queries(self, edit: AttentionEdit) -> Tensor | None:
        """Which queries an edit means, ``[R, q]`` bool; None for all."""
        where = self.part.span(edit.where.queries)
        return None if where is None else where.to(self.device)[:, self.query_columns]

    def concern(self, edit: AttentionEdit) -> bool:
        """Whether an edit means any query at hand: one of the prompt's only has no more to do."""
        queries = self.queries(edit)
        return queries is None or bool(queries.any())

    def region(self, edit: AttentionEdit, rows: Tensor, heads: Tensor) -> Tensor:
        """The cells an edit means among some queries and heads, bool ``[1|R, 1|h, 1|r, 1|n]``.

        Args:
            edit: the edit.
            rows: indices ``[r]`` of this call's queries.
            heads: indices ``[h]`` of the query heads at hand.
        """
        region = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device)
        queries, keys = self.queries(edit), self.part.span(edit.where.keys)
        if queries is not None:
            region = region & queries[:, None, rows, None]
        if keys is not None:
            region = region & keys.to(self.device)[:, None, None, self.key_columns]
        meant = edit.where.heads.of(self.layer)
        if meant is not None:
            chosen = torch.tensor(sorted(meant), device=self.device)
            region = region & torch.isin(heads, chosen)[None, :, None, None]
        return region

    def coordinates(self, edit: AttentionEdit, rows: Tensor) -> Coordinates:
        """What an edit's function is told of some queries."""
        padding = self.part.padding.to(self.device)[:, None]
        columns = self.query_columns[rows]
        probe = self.part.probes.get(edit.probe or "", {}).get(self.layer)
        return Coordinates(
            self.layer,
            columns[None] - padding,
            self.key_columns[None] - padding,
            self.part.seeds,
            self.part.layout,
            columns,
            self.key_columns,
            probe,
            self.memory(edit),
            self.part.vision.get(edit.probe or "", {}),
            self.part.counterparts.get(edit.probe or ""),
        )

    def memory(self, edit: AttentionEdit) -> dict[str, Any]:
        """What an edit keeps in this layer."""
        return self.part.memory.setdefault((edit, self.layer), {})

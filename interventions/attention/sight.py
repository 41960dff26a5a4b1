"""What a pass may see, as a record of lengths and padding instead of a tensor of all pairs.

transformers makes masks by a function of the attention implementation's name, and hands on what it
returns unread. A :class:`Sight` says the same as the mask of ``sdpa`` or ``eager``, which it can
always make (:meth:`Sight.dense`), but in numbers: which columns of each row are its content, where
queries and keys begin, and the layer's rule.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lmms_causal.interventions.attention.mask_rules import Rule, rule_of

__all__ = ["MaskFunction", "Sight", "Stretch", "dense", "seen"]

MaskFunction = Callable[..., "Tensor | None"]
"""As ``transformers.masking_utils.sdpa_mask``."""

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Stretch:
    """Neighbouring rows with their content in the same columns.

    Attributes:
        rows: first row, and behind the last.
        start: column of the first token that is not padding.
        stop: behind the last.
        spans: where blocks of the layer's rule are, in positions from ``start``.
    """

    rows: tuple[int, int]
    start: int
    stop: int
    spans: Spans = ()


@dataclass(frozen=True, eq=False)
class Sight:
    """The mask of one pass and one kind of layer.

    Attributes:
        rule: what the layer allows.
        stretches: the rows, in order.
        queries: number of queries of the pass.
        keys: number of keys that the cache hands out.
        first_query: column of the first query.
        first_key: column of the first key.
        rows: which rows of the pass this is of; None for all.
    """

    rule: Rule
    stretches: tuple[Stretch, ...]
    queries: int
    keys: int
    first_query: int
    first_key: int
    rows: tuple[int, int] | None = None
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As of the mask it stands for: ``[B, 1, queries, keys]``. transformers asks for it."""
        return (self.stretches[-1].rows[1], 1, self.queries, self.keys)

    @property
    def ndim(self) -> int:
        """4, as of the mask it stands for."""
        return 4

    def contiguous(self) -> Sight:
        """Itself. ``generate`` asks for it where it makes masks before the pass (static caches)."""
        return self

    @property
    def end(self) -> int:
        """The column behind the last query."""
        return self.first_query + self.queries

    def dense(self) -> Tensor | None:
        """The mask itself as the implementation takes it, made once a pass; None for causal."""
        if "mask" not in self._made:
            function, arguments = self._made["how"]
            self._made["mask"] = function(**arguments)
        mask: Tensor | None = self._made["mask"]
        if self.rows is None or mask is None or mask.shape[0] == 1:
            return mask
        return mask[slice(*self.rows)]

    def of(self, rows: slice) -> Sight:
        """The sight of some rows."""
        first, last, _ = rows.indices(self.shape[0])
        kept = []
        for stretch in self.stretches:
            begin, stop = max(stretch.rows[0], first), min(stretch.rows[1], last)
            if begin < stop:
                kept.append(replace(stretch, rows=(begin - first, stop - first)))
        base = 0 if self.rows is None else self.rows[0]
        return replace(self, stretches=tuple(kept), rows=(base + first, base + last))

    def split(self, labels: Sequence[Hashable]) -> Sight:
        """The sight with neighbouring rows apart whose labels differ."""
        kept: list[Stretch] = []
        for stretch in self.stretches:
            first = stretch.rows[0]
            for row in range(first + 1, stretch.rows[1] + 1):
                if row == stretch.rows[1] or labels[row] != labels[first]:
                    kept.append(replace(stretch, rows=(first, row)))
                    first = row
        return self if len(kept) == len(self.stretches) else replace(self, stretches=tuple(kept))


def dense(mask: Tensor | Sight | None) -> Tensor | None:
    """The tensor that a mask is, or stands for."""
    return mask.dense() if isinstance(mask, Sight) else mask


def seen(function: MaskFunction) -> Callable[..., Tensor | Sight | None]:
    """Return a mask function that says what ``function`` would make, as a :class:`Sight`.

    It makes the tensor where that cannot be said: for rules that are not known (packed texts,
    functions of a model's own), for padding with gaps, and while torch compiles.
    """

    def mask(**arguments: Any) -> Tensor | Sight | None:
        if isinstance(made := arguments.get("attention_mask"), Sight):
            return made  # before the pass, by ``generate``
        found = None if torch.compiler.is_compiling() else _sight(function, arguments)
        return function(**arguments) if found is None else found

    return mask


def _sight(function: MaskFunction, arguments: Mapping[str, Any]) -> Sight | None:
    from transformers.masking_utils import causal_mask_function

    rule = rule_of(arguments.get("mask_function", causal_mask_function))
    if rule is None:
        return None
    first_query, first_key = int(arguments.get("q_offset", 0)), int(arguments.get("kv_offset", 0))
    queries, batch = int(arguments["q_length"]), int(arguments["batch_size"])
    stretches = _stretches(arguments.get("attention_mask"), batch, first_query + queries)
    if stretches is not None and rule.blocks is not None:
        stretches = _with_blocks(stretches, rule.blocks)
    if stretches is None:
        return None
    return Sight(
        rule,
        stretches,
        queries,
        int(arguments["kv_length"]),
        first_query,
        first_key,
        _made={"how": (function, dict(arguments))},
    )


def _stretches(padding: Tensor | None, batch: int, end: int) -> tuple[Stretch, ...] | None:
    """Rows by where their content is; None if the content of one has gaps."""
    if padding is None or padding.dim() != 2:
        return (Stretch((0, batch), 0, end),) if padding is None else None
    real = padding[:, :end].bool()
    if real.shape[1] == end and bool(real.all()):
        return (Stretch((0, batch), 0, end),)
    columns = torch.arange(real.shape[1], device=real.device)
    start = torch.where(real, columns, end).amin(dim=1)
    stop = torch.where(real, columns + 1, 0).amax(dim=1)
    count = real.sum(dim=1)
    if not bool(((stop - start == count) | (count == 0)).all()):
        return None
    ends = [
        (a, b) if n else (end, end) for a, b, n in torch.stack([start, stop, count], 1).tolist()
    ]
    if len(ends) == 1 < batch:
        ends = ends * batch
    return _joined([Stretch((row, row + 1), *both) for row, both in enumerate(ends)])


def _with_blocks(stretches: tuple[Stretch, ...], blocks: Tensor) -> tuple[Stretch, ...] | None:
    """The rows with their blocks; None if a block is not of neighbouring columns."""
    found = []
    for stretch in stretches:
        for row in range(*stretch.rows):
            own = blocks[row if blocks.shape[0] > 1 else 0, stretch.start : stretch.stop].tolist()
            runs: list[tuple[int, int, int]] = []
            for at, block in enumerate(own):
                if runs and block == runs[-1][2] and block >= 0:
                    runs[-1] = (runs[-1][0], at + 1, block)
                elif block >= 0:
                    runs.append((at, at + 1, block))
            if len({block for _, _, block in runs}) != len(runs):
                return None
            spans = tuple((first, last) for first, last, _ in runs)
            found.append(replace(stretch, rows=(row, row + 1), spans=spans))
    return _joined(found)


def _joined(rows: list[Stretch]) -> tuple[Stretch, ...]:
    """Neighbours with the same content as one."""
    joined: list[Stretch] = []
    for row in rows:
        last = joined[-1] if joined else None
        if last and replace(row, rows=last.rows) == last and row.rows[0] == last.rows[1]:
            joined[-1] = replace(last, rows=(last.rows[0], row.rows[1]))
        else:
            joined.append(row)
    return tuple(joined)

"""The records: one operation on attention, and where it applies.

With ``s`` the scaled scores of a head, ``M`` what may be seen and ``o`` its output, a list of edits
means, stage by stage and inside a stage in the order of the list,

    mask      M' = (M or all Open) and not any Close           padding is never opened
    score     s' = s + Bias, s + alpha |s|                      Bias, Gain
    weights   a = softmax over M' of s', then Scale, Uniform, Calibrate, Replace
    output    o = a v, then HeadScale, HeadReplace

A query that may see nothing has output 0. :class:`Segments` replaces mask, scores and positions by
those of position-invariant inference; only edits of the output go with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from lmms_causal.interventions.attention.heads import ALL_HEADS, Heads
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.spans import ALL, Span

__all__ = [
    "AttentionEdit",
    "Bias",
    "Calibrate",
    "Close",
    "Coordinates",
    "Gain",
    "HeadReplace",
    "HeadScale",
    "Open",
    "Operation",
    "Replace",
    "Scale",
    "Segments",
    "Uniform",
    "Where",
]

Layers = Callable[[int], Sequence[int]]


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
        probe: outputs of each head ``[R, H, d]`` at the last token of the probe's prompt, if the
            edit reads one.
        memory: kept by the edit from pass to pass of one generation, for this layer.
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


Pairs = Callable[[Layout], Tensor]
"""Which pairs of columns are meant, ``[R, N, N]`` bool, query by key."""


@dataclass(frozen=True)
class Open:
    """Let the queries see the keys, where ``pairs`` holds if it is given."""

    pairs: Pairs | None = None


@dataclass(frozen=True)
class Close:
    """Hide the keys from the queries, where ``pairs`` holds if it is given."""

    pairs: Pairs | None = None


@dataclass(frozen=True)
class Bias:
    """Add to the scaled scores; by layer if a function of its index."""

    amount: float | Callable[[int], float]

    def of(self, layer: int) -> float:
        """The amount in a layer."""
        return self.amount(layer) if callable(self.amount) else self.amount


@dataclass(frozen=True)
class Gain:
    """``s + alpha |s|``, as PAI and PAINT raise the scores of picture tokens."""

    alpha: float


@dataclass(frozen=True)
class Scale:
    """Multiply weights by a factor; with ``renormalise`` rows sum to 1 again."""

    factor: float
    renormalise: bool = True


@dataclass(frozen=True)
class Uniform:
    """The same weight for everything that may be seen."""


@dataclass(frozen=True)
class Replace:
    """Weights from weights.

    Attributes:
        function: ``(weights [R, H, q, n], allowed [R, 1 or H, q, n], coordinates) -> weights``,
            float32. Weights are 0 where not allowed, and must stay so. Each row of queries must
            depend on itself only: rows may come in pieces.
    """

    function: Callable[[Tensor, Tensor, Coordinates], Tensor]


@dataclass(frozen=True)
class Calibrate:
    """Move attention from sinks to the rest of each row (ACT, arXiv 2406.15765).

    A sink is a key, not the row's first token, whose mean weight over the prompt's queries that may
    see it is above the threshold. Its weights are multiplied by ``beta``, and what that frees goes
    to the other keys in proportion to their weights. Sinks are found in the prompt, once.

    Attributes:
        beta: what is left of a sink's weight.
        threshold: of the mean weight; None for ``over_length / N`` with ``N`` prompt tokens.
        over_length: see ``threshold``.
    """

    beta: float
    threshold: float | None
    over_length: float = 5.0


@dataclass(frozen=True)
class HeadScale:
    """Multiply the outputs of heads.

    Attributes:
        factor: a number; or a function, called once, of the outputs ``[R, H, d]`` at the prompt's
            last token and those of the probe, which returns ``[R, H]``.
    """

    factor: float | Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class HeadReplace:
    """Replace the outputs of heads.

    Attributes:
        values: ``coordinates -> [R or 1, q or 1, H, d]``.
    """

    values: Callable[[Coordinates], Tensor]


@dataclass(frozen=True)
class Segments:
    """Attention that does not depend on the order of segments (PINE, arXiv 2407.01100).

    Attributes:
        order: how segments are placed before a query: by ``importance``, most important closest;
            ``reverse``; ``sequential``, as they are written; ``stacked``, all at one place.
        visible: whether segments see each other (``mutual``) or each its ``own`` only.
    """

    order: Literal["importance", "reverse", "sequential", "stacked"] = "importance"
    visible: Literal["mutual", "own"] = "mutual"


Operation = (
    Open
    | Close
    | Bias
    | Gain
    | Scale
    | Uniform
    | Replace
    | Calibrate
    | HeadScale
    | HeadReplace
    | Segments
)


@dataclass(frozen=True)
class Where:
    """Where an operation applies. The prompt's pass and later ones differ by the queries' span.

    Attributes:
        layers: which decoder layers, given their number; None for all.
        heads: which query heads.
        queries: rows.
        keys: columns; not read by operations on outputs.
    """

    layers: Layers | None = None
    heads: Heads = ALL_HEADS
    queries: Span = ALL
    keys: Span = ALL

    def of(self, depth: int) -> Sequence[int]:
        """The layers, of a decoder with ``depth`` of them."""
        return range(depth) if self.layers is None else self.layers(depth)


@dataclass(frozen=True)
class AttentionEdit:
    """One operation somewhere.

    Attributes:
        operation: what is done.
        where: where.
        everywhere: whether branches are edited too, because the edit is part of how the model reads
            a prompt, rather than of what is contrasted.
        probe: the name of the plan's probe that the operation reads.
    """

    operation: Operation
    where: Where = Where()
    everywhere: bool = False
    probe: str | None = None

    @property
    def reads_segments(self) -> bool:
        """Whether it means declared segments."""
        spans = (self.where.queries, self.where.keys)
        return isinstance(self.operation, Segments) or any(it.reads_segments for it in spans)

    @property
    def neutral(self) -> bool:
        """Whether it has no effect whatever the model."""
        match self.operation:
            case Bias(amount=0) | Gain(alpha=0):
                return True
            case Scale(factor=1) | HeadScale(factor=1) | Calibrate(beta=1):
                return True
        return self.where.heads == Heads(frozenset())

"""The records: one operation on attention, and where it applies.

With ``s`` the scaled scores of a head, ``M`` what may be seen and ``o`` its output, a list of edits
means, stage by stage and inside a stage in the order of the list,

    mask      M' = (M under the Pattern, or all Open) and not any Close
    score     s' = s + Bias, s + alpha |s|                      Bias, Gain
    weights   a = softmax over M' of s', then Scale, Uniform, Calibrate, Replace
    output    o = a v, then HeadScale, HeadReplace

A pattern stands for *causal* in ``M``: ``(M and (P or ahead)) or (P and ahead)``, with *ahead* the
pairs whose key is after the query. What the model closes stays closed, and what it lets see ahead
it still does. A query that may see nothing has output 0. Padding is never opened, nor an answer's
tokens to what stands before them: what is generated and scored, cached or not, then agrees.
:class:`Segments` replaces mask, scores and positions by those of position-invariant inference; only
edits of the output go with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from lmms_causal.interventions.attention.heads import ALL_HEADS, Heads
from lmms_causal.interventions.attention.spans import ALL, Span

if TYPE_CHECKING:
    from torch import Tensor

    from lmms_causal.interventions.attention.coordinates import Coordinates
    from lmms_causal.interventions.attention.layout import Layout
    from lmms_causal.kernels.patterns import AttentionPattern

__all__ = [
    "AttentionEdit",
    "Bias",
    "Calibrate",
    "Close",
    "Gain",
    "HeadReplace",
    "HeadScale",
    "Open",
    "Operation",
    "Pattern",
    "Replace",
    "Scale",
    "Segments",
    "Uniform",
    "Where",
]

Layers = Callable[[int], Sequence[int]]
Stage = Literal["mask", "score", "weights", "output", "all"]
"""Of attention: what an operation changes; ``all`` replaces everything but the outputs' edits."""

Pairs = Callable[["Layout", "Tensor", "Tensor"], "Tensor"]
"""Which pairs are meant: layout, columns ``[r]`` of queries, ``[n]`` of keys, to bool
``[R, r, n]``."""


class Operation:
    """What can be done.

    Attributes:
        stage: what is changed.
        replaces: what two operations cannot both do, for the message; empty where they can.
        reveals: whether queries may see what the model would hide, or forget.
    """

    stage: ClassVar[Stage]
    replaces: ClassVar[str] = ""
    reveals: ClassVar[bool] = False


@dataclass(frozen=True)
class Pattern(Operation):
    """Let queries see what a pattern of :mod:`lmms_causal.kernels` allows, in positions of content.

    Attributes:
        pattern: stands for *causal*.
        regions: names of the regions of a prompt that it reads.
    """

    stage: ClassVar[Stage] = "mask"
    replaces: ClassVar[str] = "set the pattern of attention"

    pattern: AttentionPattern
    regions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Open(Operation):
    """Let the queries see the keys, where ``pairs`` holds if it is given."""

    stage: ClassVar[Stage] = "mask"
    reveals: ClassVar[bool] = True

    pairs: Pairs | None = None


@dataclass(frozen=True)
class Close(Operation):
    """Hide the keys from the queries, where ``pairs`` holds if it is given."""

    stage: ClassVar[Stage] = "mask"

    pairs: Pairs | None = None


@dataclass(frozen=True)
class Bias(Operation):
    """Add to the scaled scores; by layer if a function of its index."""

    stage: ClassVar[Stage] = "score"

    amount: float | Callable[[int], float]

    def of(self, layer: int) -> float:
        """The amount in a layer."""
        return self.amount(layer) if callable(self.amount) else self.amount


@dataclass(frozen=True)
class Gain(Operation):
    """``s + alpha |s|``, as PAI and PAINT raise the scores of picture tokens.

    Attributes:
        alpha: a number; or a function of the coordinates, to an amount ``[R, n]`` for each key.
    """

    stage: ClassVar[Stage] = "score"

    alpha: float | Callable[[Coordinates], Tensor]

    def of(self, where: Callable[[], Coordinates]) -> float | Tensor:
        """The amount, to be multiplied with scores ``[R, h, r, n]``."""
        return self.alpha(where())[:, None, None] if callable(self.alpha) else self.alpha


@dataclass(frozen=True)
class Scale(Operation):
    """Multiply weights by a factor; with ``renormalise`` rows sum to 1 again."""

    stage: ClassVar[Stage] = "weights"

    factor: float
    renormalise: bool = True


@dataclass(frozen=True)
class Uniform(Operation):
    """The same weight for everything that may be seen."""

    stage: ClassVar[Stage] = "weights"
    replaces: ClassVar[str] = "replace attention weights"


@dataclass(frozen=True)
class Replace(Operation):
    """Weights from weights.

    Attributes:
        function: ``(weights [R, H, q, n], allowed [R, 1 or H, q, n], coordinates) -> weights``,
            float32. Weights are 0 where not allowed, and must stay so. Each row of queries must
            depend on itself only: rows may come in pieces.
    """

    stage: ClassVar[Stage] = "weights"
    replaces: ClassVar[str] = "replace attention weights"

    function: Callable[[Tensor, Tensor, Coordinates], Tensor]


@dataclass(frozen=True)
class Calibrate(Operation):
    """Move attention from sinks to the rest of each row (ACT, arXiv 2406.15765).

    A sink is a key, not the row's first token, whose mean weight over the prompt's queries that may
    see it is above the threshold. Its weights are multiplied by ``beta``, and what that frees goes
    to the other keys in proportion to their weights. Sinks are found in the prompt, once.

    Attributes:
        beta: what is left of a sink's weight.
        threshold: of the mean weight; None for ``over_length / N`` with ``N`` prompt tokens.
        over_length: see ``threshold``.
        first_found: whether the first sink found is spared, whichever it is, as in the released
            code, rather than the row's first token.
    """

    stage: ClassVar[Stage] = "weights"

    beta: float
    threshold: float | None
    over_length: float = 5.0
    first_found: bool = False


@dataclass(frozen=True)
class HeadScale(Operation):
    """Multiply the outputs of heads.

    Attributes:
        factor: a number; or a function, called once, of the outputs ``[R, H, d]`` at the prompt's
            last token and those of the probe, which returns ``[R, H]``.
    """

    stage: ClassVar[Stage] = "output"

    factor: float | Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class HeadReplace(Operation):
    """Replace the outputs of heads.

    Attributes:
        values: ``coordinates -> [R or 1, q or 1, H, d]``.
        known: ``coordinates -> [R, q]`` bool, the queries that there is a value for; None: all.
    """

    stage: ClassVar[Stage] = "output"
    replaces: ClassVar[str] = "replace the outputs of heads"

    values: Callable[[Coordinates], Tensor]
    known: Callable[[Coordinates], Tensor] | None = None


@dataclass(frozen=True)
class Segments(Operation):
    """Attention that does not depend on the order of segments (PINE, arXiv 2407.01100).

    Attributes:
        order: how segments are placed before a query: by ``importance``, most important closest;
            ``reverse``; ``sequential``, as they are written; ``stacked``, all at one place.
        visible: whether segments see each other (``mutual``) or each its ``own`` only.
    """

    stage: ClassVar[Stage] = "all"
    replaces: ClassVar[str] = "place segments"

    order: Literal["importance", "reverse", "sequential", "stacked"] = "importance"
    visible: Literal["mutual", "own"] = "mutual"


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
        counts_tokens: whether a text that is scored must say where its answer begins, because the
            answer would be edited as the prompt is.
    """

    operation: Operation
    where: Where = Where()
    everywhere: bool = False
    probe: str | None = None
    counts_tokens: bool = False

    @property
    def reads_segments(self) -> bool:
        """Whether it means declared segments."""
        spans = (self.where.queries, self.where.keys)
        match self.operation:
            case Segments():
                return True
            case Pattern(regions=regions) if "segment" in regions:
                return True
        return any(it.reads_segments for it in spans)

    @property
    def reads_pictures(self) -> bool:
        """Whether it reads where pictures are, and how their tokens lie on them."""
        return isinstance(self.operation, Pattern) and "image" in self.operation.regions

    @property
    def reads_sentences(self) -> bool:
        """Whether it means sentences of the user's turn."""
        return any(it.reads_sentences for it in (self.where.queries, self.where.keys))

    @property
    def neutral(self) -> bool:
        """Whether it has no effect whatever the model."""
        match self.operation:
            case Bias(amount=0) | Gain(alpha=0):
                return True
            case Scale(factor=1) | HeadScale(factor=1) | Calibrate(beta=1):
                return True
        return self.where.heads == Heads(frozenset())

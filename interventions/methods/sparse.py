"""Structured sparse attention without training: a pattern in place of causal attention.

The patterns of :mod:`lmms_causal.kernels`, each from a paper of its own: S2-Attention (arXiv
2407.17678), PowerAttention (arXiv 2503.03588), sliding windows with sinks (arXiv 2309.17453),
neighborhood attention inside pictures (arXiv 2403.04690, 2504.16922), modality-mutual and
concentric masks, and what users add. ``docs/patterns.md`` has them all.

Equations
---------
With ``M`` what a layer of the model lets be seen, ``P`` the pattern in positions of the prompt's
own tokens, and *ahead* the pairs whose key is after the query::

    M' = (M and (P or ahead)) or (P and ahead)

so that where the model is causal it is ``P`` that is seen. What a layer closes (a window, padding)
stays closed; what it lets see ahead (the patches of a picture in Gemma 3) it still does. An answer
is never seen from before it, and padding never at all.

Cost
----
Less than plain attention in the prompt and in decoding: tiles and keys that no query sees are not
computed, and no mask of all queries by all keys is made. The whole cache is kept. What that saves
in a model is measured by ``benchmarks/attention_in_models.py``.

Paper and code
--------------
A pattern is written as in ``docs/patterns.md``, with brackets and slashes where a spec has
parentheses and commas already: ``sparse(pattern=power[window=5]+dense@0/1)`` leaves the first two
layers to the model. Layers whose pattern is causal are not touched. Patterns of pictures read where
the pictures of a prompt are, and the extents of their grids; ``question`` is the user's turn after
the last picture, ``segment`` what the task declares.

It holds in the factual pass and in all branches, since it is how the model reads. Edges that other
methods open or close come after it, biases and factors on top. It cannot be composed with
position-invariant attention, which has a mask of its own.

Published
---------
Mostly of models trained with their pattern. PowerAttention, RULER, 32k tokens, Qwen2-7B trained on
1B tokens with 2 of every 7 layers dense: full 79.2, power 50.7, stride-slash 45.1, sliding window
34.9 (Table 2); untrained, the mask fails the passkey probe.

Unverified
----------
What any of these patterns costs a vision-language model in accuracy, trained or not: that is what
this method is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.edits import AttentionEdit, Pattern, Where
from lmms_causal.interventions.attention.regions import REGIONS
from lmms_causal.interventions.plan import Plan
from lmms_causal.interventions.registry import method
from lmms_causal.kernels.patterns import AttentionPattern, Causal, Context, Region
from lmms_causal.kernels.patterns.per_layer import PerLayer
from lmms_causal.kernels.patterns.spec import parse_pattern, pattern_text

__all__ = ["Sparse"]


@method
@dataclass(frozen=True)
class Sparse:
    """Parameters of sparse attention.

    Attributes:
        pattern: as in ``docs/patterns.md``, such as ``window[256/sink=4]``, ``s2``, or by layer
            ``power[window=5]+dense@0/1``.
    """

    example: ClassVar[str] = "sparse(pattern=window[6/sink=2]&power[block=2/window=1])"

    pattern: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", pattern_text(parse_pattern(self.pattern), nested=True))

    def plan(self) -> Plan:
        """One edit of the mask for each pattern; none for a pattern that is causal everywhere."""
        edits = tuple(
            AttentionEdit(
                Pattern(one, named_regions(one)),
                Where(layers=_Layers(self._by_layer(), one)),
                everywhere=True,
                counts_tokens="question" in named_regions(one) or looks_ahead(one),
            )
            for one in self._patterns()
        )
        return Plan(attention=edits, requirements=(self.obstacle,)) if edits else Plan()

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why a model cannot have the pattern: it has no such layers, or no pictures."""
        try:
            self._by_layer().layers(adapter.depth)
        except UserError as error:
            return str(error)
        pictures = any("image" in named_regions(one) for one in self._patterns())
        if pictures and not adapter.sees:
            return f"the pattern {self.pattern} is one of pictures, and the model reads text only"
        return None

    def _by_layer(self) -> PerLayer:
        found = parse_pattern(self.pattern)
        return found if isinstance(found, PerLayer) else PerLayer(found)

    def _patterns(self) -> tuple[AttentionPattern, ...]:
        """The patterns that are not causal, each once."""
        found = self._by_layer()
        named = (found.default, *(one for _, one in found.others))
        return tuple(dict.fromkeys(one for one in named if one != Causal()))


@dataclass(frozen=True)
class _Layers:
    """The layers that have a pattern."""

    patterns: PerLayer
    wanted: AttentionPattern

    def __call__(self, depth: int) -> Sequence[int]:
        found = self.patterns.layers(depth)
        return [layer for layer, pattern in enumerate(found) if pattern == self.wanted]


def named_regions(pattern: Any) -> frozenset[str]:
    """Return the regions of a prompt that a pattern names in its parameters."""
    found: set[str] = set()
    for field in fields(pattern):
        value = getattr(pattern, field.name)
        if is_dataclass(value):
            found |= named_regions(value)
        elif isinstance(value, str) and value in REGIONS:
            found.add(value)
    return frozenset(found)


def looks_ahead(pattern: AttentionPattern) -> bool:
    """Return whether a pattern lets queries see what is after them, on a prompt made up for it."""
    shown = (Region("image", 2, 66, (8, 8)), Region("question", 66, 90))
    segments = (Region("segment", 90, 100), Region("segment", 100, 112))
    context = Context(128, 128, heads=8, kv_heads=4, regions=(*shown, *segments))
    try:
        pattern.check(context)
    except UserError:
        return True  # of other shapes: nothing is known
    i = torch.arange(128)
    allowed = pattern.allowed(context, torch.arange(8)[:, None, None], i[:, None], i[None])
    return bool((allowed & (i[None] > i[:, None])).any())

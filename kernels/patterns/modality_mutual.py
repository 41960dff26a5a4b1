"""Modality-mutual attention: pictures see the question that is asked about them.

"Seeing is Understanding: Unlocking Causal Attention into Modality-Mutual Attention for Multimodal
LLMs" (AKI), arXiv 2503.02597; code sony/aki. The paper trains with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.base import AttentionPattern, Grid
from lmms_causal.kernels.patterns.causal import Causal
from lmms_causal.kernels.patterns.context import Context, Region
from lmms_causal.kernels.patterns.rectangle import Rectangle
from lmms_causal.kernels.patterns.registry import pattern

__all__ = ["ModalityMutual"]


@pattern("modality_mutual", "mutual")
@dataclass(frozen=True)
class ModalityMutual(AttentionPattern):
    """``j <= i, or i in a picture and j in the text behind it up to the end of the question``.

    Neither the answer nor another picture is part of that text. A question before the picture is
    seen causally as it is.

    Attributes:
        image: name of the pictures' regions.
        text: name of the question's.
    """

    image: str = "image"
    text: str = "question"

    def check(self, context: Context) -> None:
        """There are a picture and a question."""
        for name in (self.image, self.text):
            if not context.named(name):
                raise UserError(
                    f"pattern modality_mutual: the prompt has no region {name!r}; it lets a "
                    "picture see a question"
                )

    def allowed(self, context: Context, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Causal, and what is opened."""
        return _opened(self, context.regions).allowed(context, h, i, j)

    def states(self, context: Context, grid: Grid) -> Tensor:
        """Causal, and what is opened."""
        return _opened(self, context.regions).states(context, grid)


@lru_cache(maxsize=64)
def _opened(pattern: ModalityMutual, regions: tuple[Region, ...]) -> AttentionPattern:
    """The pattern of a prompt, from rectangles."""
    pictures = sorted((r.start, r.stop) for r in regions if r.name == pattern.image)
    end = max((r.stop for r in regions if r.name == pattern.text), default=0)
    found: AttentionPattern = Causal()
    for start, stop in pictures:
        text, begin = [], stop
        for other, behind in [*(p for p in pictures if p[0] >= stop), (end, end)]:
            if begin < min(other, end):
                text.append((begin, min(other, end)))
            begin = behind
        if text:
            found = found | Rectangle(rows=((start, stop),), keys=tuple(text))
    return found

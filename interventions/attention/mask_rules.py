"""Read the mask functions of transformers: what they say, rather than the tensors they make.

A layer's mask is built of functions of two positions: causal, within a window, within a chunk, in
the same block, joined by *and* and *or*. Their parameters are in their closures. What is not known
here is not guessed: such a mask stays a tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from transformers import masking_utils

from lmms_causal.interventions.attention.mask_patterns import (
    Ahead,
    InBlock,
    NotBefore,
    SameChunk,
)
from lmms_causal.kernels.patterns import AttentionPattern, Causal
from lmms_causal.kernels.patterns.window import SlidingWindow

__all__ = ["Rule", "rule_of"]

_CAUSAL = Causal()


@dataclass(frozen=True, eq=False)
class Rule:
    """``((causal or in one block) and in the window and in the chunk) or in one block``.

    Attributes:
        window: keys a query may look back to, itself included; None for all.
        chunk: positions in a chunk; None for no chunks.
        blocks: for each column the block it is in ``[B, N]``, -1 for none; None without blocks.
        bounded: whether window and chunk bound the blocks too.
    """

    window: int | None = None
    chunk: int | None = None
    blocks: Tensor | None = None
    bounded: bool = False

    def pattern(
        self,
        length: int,
        spans: tuple[tuple[int, int], ...] = (),
        instead: AttentionPattern | None = None,
    ) -> AttentionPattern:
        """The rule as a pattern.

        Args:
            length: positions there are; what bounds none of them is left out.
            spans: where blocks are, in positions of a row's content.
            instead: stands for *causal*. With ``L`` the rule it then is
                ``(L and (instead or ahead)) or (instead and ahead)``, within window and chunk:
                what the model closes stays closed, what it lets see ahead it still does.
        """
        block: AttentionPattern = InBlock(spans)
        if instead is not None:
            block = block & (instead | Ahead())
        found: AttentionPattern = _CAUSAL if instead is None else instead
        if spans and self.bounded:
            found = found | block
        if self.window is not None and self.window < length:
            plain = found is _CAUSAL
            found = SlidingWindow(self.window) if plain else found & NotBefore(self.window)
        if self.chunk is not None and self.chunk < length:
            found = found & SameChunk(self.chunk)
        if spans and not self.bounded:
            found = found | block
        return found


def rule_of(function: Callable[..., Any]) -> Rule | None:
    """Return what a mask function says, or None if it is not one that is known."""
    if function is masking_utils.causal_mask_function:
        return Rule()
    parts = _free(function).get("mask_functions", ())
    kind = _kind(function)
    if kind not in ("and_masks", "or_masks") or not parts:
        return None
    cores = [rule for part in parts if (rule := rule_of(part)) is not None]
    others = [part for part in parts if rule_of(part) is None]
    if len(cores) != 1:
        return None
    rule = cores[0]
    for part in others:
        named = _free(part)
        match (kind, _kind(part)):
            case ("and_masks", "sliding_window_overlay") if _boundable(rule):
                least = min(int(named["sliding_window"]), rule.window or 1 << 62)
                rule = replace(rule, window=least, bounded=rule.blocks is not None)
            case ("and_masks", "chunked_overlay") if _boundable(rule) and rule.chunk is None:
                # left padding is what content positions leave out, and so does the overlay
                size = int(named["chunk_size"])
                rule = replace(rule, chunk=size, bounded=rule.blocks is not None)
            case ("or_masks", "blockwise_overlay") if rule.blocks is None:
                rule = replace(rule, blocks=named["block_sequence_ids"])
            case _:
                return None
    return rule


def _boundable(rule: Rule) -> bool:
    """Whether a bound of all of the rule can be told: not once blocks stand beside a bound."""
    return rule.blocks is None or rule.bounded or (rule.window is None and rule.chunk is None)


def _kind(function: Callable[..., Any]) -> str:
    """The name of the function of ``masking_utils`` that made a mask function."""
    if getattr(function, "__module__", None) != masking_utils.__name__:
        return ""
    return str(getattr(function, "__qualname__", "")).partition(".")[0]


def _free(function: Callable[..., Any]) -> dict[str, Any]:
    """The variables in a function's closure, by name."""
    cells = getattr(function, "__closure__", None) or ()
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}

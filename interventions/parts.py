"""Where the parts of a prompt are in its tokens: what a host says and the tensors do not show."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PromptParts"]


@dataclass(frozen=True)
class PromptParts:
    """Where the parts of one prompt are, in tokens counted from its first real token.

    Padding does not count; the beginning-of-sequence token, where there is one, is token 0.

    Attributes:
        turn: the user's last turn, words and pictures, ``[start, stop)``; None if unknown.
        segments: groups of adjacent segments, each ``[start, stop)``; empty if none are declared.
    """

    turn: tuple[int, int] | None = None
    segments: tuple[tuple[tuple[int, int], ...], ...] = ()

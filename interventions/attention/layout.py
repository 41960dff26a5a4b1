"""What each token of a batch of prompts is: of the system's text, of the user's turn, a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lmms_causal.interventions.parts import PromptParts

if TYPE_CHECKING:
    from lmms_causal.interventions.adapter import ModelAdapter

__all__ = ["Layout", "Role"]

_GROUP = 1000  # a segment's code is group * _GROUP + index, both counted from 1


class Role(IntEnum):
    """What a token is."""

    PADDING = -1
    SYSTEM = 0
    """Before the user's last turn: system prompt, template, earlier turns; words a method added."""
    TURN = 1
    """The user's last turn, its pictures apart."""
    IMAGE = 2
    TAIL = 3
    """What the chat template writes after the user's last turn."""
    GENERATED = 4


@dataclass(frozen=True)
class Layout:
    """Roles and segments of a batch, by column, padding included.

    Attributes:
        roles: :class:`Role` of each token ``[R, N]``, int8.
        segments: code of the segment each token is in ``[R, N]``, int32; 0 for none.
    """

    roles: Tensor
    segments: Tensor

    @classmethod
    def of(
        cls,
        inputs: Mapping[str, Any],
        adapter: ModelAdapter,
        parts: Sequence[PromptParts] | None,
        prompt_length: int | None,
    ) -> Layout:
        """Look at a batch.

        Args:
            inputs: ``input_ids [B, L]`` and, if padded, ``attention_mask``.
            adapter: knows which tokens are pictures.
            parts: what the host said of each prompt; rows made of one prompt share it. Where the
                turn is unknown, all that follows the last picture counts as the turn, and all of a
                prompt without pictures.
            prompt_length: columns that are prompt; what is behind them is generated. None: all.
        """
        ids: Tensor = inputs["input_ids"]
        mask = inputs.get("attention_mask")
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        end = ids.shape[1] if prompt_length is None else prompt_length
        columns = torch.arange(ids.shape[1], device=ids.device)[None]
        first = real.long().argmax(dim=1, keepdim=True)
        visual = adapter.is_visual(ids)
        after = torch.where(visual, columns + 1, 0).amax(dim=1, keepdim=True)
        start, stop = torch.maximum(after, first), torch.full_like(first, end)
        segments = torch.zeros_like(ids, dtype=torch.int32)
        if parts is not None:
            repeats = ids.shape[0] // len(parts)
            for row, part in enumerate(p for p in parts for _ in range(repeats)):
                offset = int(first[row])
                if part.turn is not None:
                    start[row], stop[row] = part.turn[0] + offset, part.turn[1] + offset
                for group, members in enumerate(part.segments, start=1):
                    for index, (begin, behind) in enumerate(members, start=1):
                        code = group * _GROUP + index
                        segments[row, begin + offset : behind + offset] = code
        roles = torch.full_like(ids, Role.SYSTEM, dtype=torch.int8)
        roles[(columns >= start) & (columns < stop)] = Role.TURN
        roles[columns >= stop] = Role.TAIL
        roles[visual] = Role.IMAGE
        roles[:, end:] = Role.GENERATED
        roles[~real] = Role.PADDING
        return cls(roles, segments)

    @property
    def real(self) -> Tensor:
        """Which columns are not padding, ``[R, N]`` bool."""
        return self.roles != Role.PADDING

    @property
    def generated(self) -> Tensor:
        """Which columns are of the answer, ``[R, N]`` bool."""
        return self.roles == Role.GENERATED

    @property
    def width(self) -> int:
        """Number of columns ``N``."""
        return self.roles.shape[1]

    @property
    def prompt_end(self) -> int:
        """Number of columns that are prompt."""
        return self.width - int(self.generated.any(dim=0).sum())

    def extended(self, columns: int) -> Layout:
        """The layout once ``columns`` columns are there: the new ones are generated."""
        more = columns - self.width
        if more <= 0:
            return self
        return Layout(
            pad(self.roles, (0, more), value=int(Role.GENERATED)), pad(self.segments, (0, more))
        )

    def widened(self, columns: int) -> Layout:
        """The layout padded on the left to ``columns`` columns."""
        more = columns - self.width
        return Layout(
            pad(self.roles, (more, 0), value=int(Role.PADDING)), pad(self.segments, (more, 0))
        )

    def segment(self, group: int, index: int) -> Tensor:
        """Which columns are in one segment, both numbers counted from 1, ``[R, N]`` bool."""
        return self.segments == group * _GROUP + index

    def groups(self, row: int) -> list[list[tuple[int, int]]]:
        """The segments of one row: for each group its ``(start, stop)`` columns, in order."""
        codes = self.segments[row]
        found: dict[int, list[tuple[int, int]]] = {}
        for code in torch.unique(codes).tolist():
            if code:
                where = (codes == code).nonzero()[:, 0]
                found.setdefault(code // _GROUP, []).append((int(where[0]), int(where[-1]) + 1))
        return [found[group] for group in sorted(found)]

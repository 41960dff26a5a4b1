"""What each token of a batch of prompts is: of the system's text, of the user's turn, a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lmms_causal.errors import UserError
from lmms_causal.interventions.parts import PromptParts

if TYPE_CHECKING:
    from lmms_causal.interventions.adapter import ModelAdapter

__all__ = ["Layout", "Role"]

_BASE = 1000  # a segment's code is (group * _BASE + rank) * _BASE + index


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
    AROUND = 5
    """What the template writes around pictures of the user's last turn, which are not its words."""


@dataclass(frozen=True)
class Layout:
    """Roles and segments of a batch, by column, padding included.

    Attributes:
        roles: :class:`Role` of each token ``[R, N]``, int8.
        segments: code of the segment each token is in ``[R, N]``, int32; 0 for none. It holds group
            and index, counted from 1, and the segment's rank in its group by its tokens, which does
            not depend on the order of segments.
        side: tokens on a side of the square views that all pictures are shown in; None where
            views are not square.
        sentences: number of the sentence of the user's last turn that each token is in ``[R, N]``,
            counted from 1, 0 for none, int32; None where no edit reads them.
        pictures: number of the view of a picture that each token is in ``[R, N]``, counted from 1
            over the batch, 0 for none, int32; None where no edit reads them.
        grids: extents of each view in tokens, ``(rows, columns)`` or ``(frames, rows, columns)``;
            empty where they are not known.
    """

    roles: Tensor
    segments: Tensor
    side: int | None = None
    sentences: Tensor | None = None
    pictures: Tensor | None = None
    grids: tuple[tuple[int, ...], ...] = ()

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
                    texts = [ids[row, a + offset : b + offset].tolist() for a, b in members]
                    for index, (begin, behind) in enumerate(members, start=1):
                        rank = sorted(texts).index(texts[index - 1])
                        code = (group * _BASE + rank) * _BASE + index
                        segments[row, begin + offset : behind + offset] = code
        roles = torch.full_like(ids, Role.SYSTEM, dtype=torch.int8)
        roles[(columns >= start) & (columns < stop)] = Role.TURN
        roles[columns >= stop] = Role.TAIL
        roles[(roles == Role.TURN) & _around_pictures(ids, visual, adapter)] = Role.AROUND
        roles[visual] = Role.IMAGE
        roles[:, end:] = Role.GENERATED
        roles[~real] = Role.PADDING
        family = adapter.family
        side = None if family is None else family.view_side(adapter.model.config)
        return cls(roles, segments, side)

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
        return self._padded((0, more), Role.GENERATED)

    def widened(self, columns: int) -> Layout:
        """The layout padded on the left to ``columns`` columns."""
        more = columns - self.width
        return self._padded((more, 0), Role.PADDING)

    def _padded(self, more: tuple[int, int], role: Role) -> Layout:
        """The layout with further columns before and behind, of one role and in nothing."""

        def padded(numbers: Tensor | None) -> Tensor | None:
            return None if numbers is None else pad(numbers, more)

        return replace(
            self,
            roles=pad(self.roles, more, value=int(role)),
            segments=pad(self.segments, more),
            sentences=padded(self.sentences),
            pictures=padded(self.pictures),
        )

    def views(self) -> tuple[Tensor, Tensor]:
        """Which square view of a picture each column is in, and where.

        Returns:
            The number of the view in its row, counted from 0, and the place in it, row by row from
            its top left; both ``[R, N]``, and -1 where there is no picture.

        Raises:
            UserError: views are not square, or a prompt does not hold all of a view.
        """
        image = self.roles == Role.IMAGE
        if self.side is None:
            raise UserError("the visual tokens of this model do not lie in squares")
        size = self.side**2
        columns = torch.arange(self.width, device=image.device).expand_as(image)
        behind = torch.where(image, 0, columns + 1).cummax(dim=1).values
        place = torch.where(image, (columns - behind) % size, -1)
        view = (place == 0).long().cumsum(dim=1) - 1
        if not torch.equal(image.sum(dim=1), size * (place == 0).sum(dim=1)):
            raise UserError(
                f"a prompt's visual tokens are not whole views of {self.side} x {self.side}; "
                "prepare it with the model's own processor"
            )
        return torch.where(image, view, -1), place

    def segment(self, group: int, index: int) -> Tensor:
        """Which columns are in one segment, both numbers counted from 1, ``[R, N]`` bool."""
        codes = self.segments
        return (codes // _BASE**2 == group) & (codes % _BASE == index)

    def groups(self, row: int) -> list[list[tuple[int, int, int]]]:
        """The segments of one row: for each group their ``(start, stop, rank)``, in order."""
        codes = self.segments[row]
        found: dict[int, list[tuple[int, int, int]]] = {}
        for code in torch.unique(codes).tolist():
            if code:
                where = (codes == code).nonzero()[:, 0]
                start, stop, rank = int(where[0]), int(where[-1]) + 1, code // _BASE % _BASE
                found.setdefault(code // _BASE**2, []).append((start, stop, rank))
        return [sorted(found[group]) for group in sorted(found)]


def _around_pictures(ids: Tensor, visual: Tensor, adapter: ModelAdapter) -> Tensor:
    """Special tokens around pictures, and line ends behind the last one, ``[B, N]`` bool."""
    markers = torch.tensor(sorted(adapter.markers), dtype=ids.dtype, device=ids.device)
    around = torch.isin(ids, markers)
    if adapter.tokenizer is None:
        return around
    for row, shown in enumerate((visual | around).tolist()):
        column = max((at for at, it in enumerate(shown) if it), default=len(shown)) + 1
        while column < len(shown) and not adapter.tokenizer.decode(int(ids[row, column])).strip():
            around[row, column] = True
            column += 1
    return around

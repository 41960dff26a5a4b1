"""Exchange words of a prompt, as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lmms_causal.errors import UserError
from lmms_causal.interventions.edits.tokens import Token

if TYPE_CHECKING:
    from lmms_causal.interventions.adapter import ModelAdapter

__all__ = ["Exchange"]


@dataclass(frozen=True)
class Exchange:
    """A token edit: some words for others, wherever they stand.

    Words are found by their tokens, as they are written at the beginning of a text and behind a
    blank; the tokens around them stay as they are.

    Attributes:
        method: the name of the method, for errors.
        find: the words.
        replace: what stands in their place; empty for nothing.
        missing: ``refuse`` prompts without the words, or ``skip`` (leave) them.
    """

    method: str
    find: str
    replace: str
    missing: Literal["refuse", "skip"] = "refuse"

    def __call__(self, row: Sequence[Token], adapter: ModelAdapter) -> list[Token]:
        """Return the prompt's tokens with the words exchanged.

        Raises:
            UserError: the prompt does not have the words.
        """
        changed = list(row)
        known: set[tuple[int, ...]] = set()
        for before in (" ", ""):
            old = _ids(before + self.find, adapter)
            if old and tuple(old) not in known:
                known.add(tuple(old))
                new = _ids(before + self.replace, adapter) if self.replace else []
                changed = _exchanged(changed, old, new)
        if self.missing == "refuse" and not _occurs(row, known):
            raise UserError(
                f"intervention {self.method}: find={self.find} does not occur in a prompt, as "
                "tokens of its own; name other words, or leave such prompts with missing=skip"
            )
        return changed


def _ids(text: str, adapter: ModelAdapter) -> list[int]:
    return list(adapter.tokenizer(text, add_special_tokens=False)["input_ids"])


def _exchanged(row: list[Token], old: list[int], new: list[int]) -> list[Token]:
    made: list[Token] = []
    start = 0
    while start < len(row):
        piece = row[start : start + len(old)]
        if [token.id for token in piece] == old and all(it.source is not None for it in piece):
            made += [Token(word, None) for word in new]
            start += len(old)
        else:
            made.append(row[start])
            start += 1
    return made


def _occurs(row: Sequence[Token], known: set[tuple[int, ...]]) -> bool:
    ids = tuple(token.id for token in row)
    return any(ids[start : start + len(old)] == old for old in known for start in range(len(ids)))

"""Edit the tokens of a batch: rows in, other rows out, aligned on the right again.

A prompt's row is a list of :class:`Token`, padding stripped. An edit drops tokens or puts new ones
in; everything that a model takes for each token follows, and positions are counted anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.edits.media import MEDIA_INPUTS

if TYPE_CHECKING:
    from lmms_causal.interventions.adapter import ModelAdapter

__all__ = [
    "Token",
    "appended",
    "edited",
    "in_step",
    "insert_before_question",
    "keep_last",
    "without_media",
]


class Token(NamedTuple):
    """A token of a row.

    Attributes:
        id: the vocabulary index.
        source: where it stands in the factual row; None for a new token.
    """

    id: int
    source: int | None


def without_media(row: Sequence[Token], adapter: ModelAdapter) -> list[Token]:
    """Drop every picture and video of a prompt, with the special tokens around it.

    Other text that a template writes for a picture, such as a line end, stays.
    """
    visual = set(adapter.visual_tokens)
    if not any(token.id in visual for token in row):
        return list(row)
    gone = visual | adapter.markers
    return [token for token in row if token.id not in gone]


def keep_last(row: Sequence[Token], adapter: ModelAdapter) -> list[Token]:
    """Keep a prompt's last token only, transformers' default negative prompt of guidance."""
    return list(row[-1:])


def insert_before_question(
    row: Sequence[Token], words: Sequence[int], adapter: ModelAdapter
) -> list[Token]:
    """Put words where the user's question begins.

    That is behind the last picture and the special tokens and line ends that follow it; without a
    picture, behind the last opening of a user turn by the chat template; without a template,
    at the beginning, behind a beginning-of-sequence token.
    """
    ids = [token.id for token in row]
    place = _question_start(ids, adapter)
    new = [Token(int(word), None) for word in words]
    return [*row[:place], *new, *row[place:]]


def _question_start(ids: list[int], adapter: ModelAdapter) -> int:
    gone = set(adapter.visual_tokens) | adapter.markers
    pictures = [index for index, token in enumerate(ids) if token in gone]
    if pictures:
        place = pictures[-1] + 1
        decode = adapter.tokenizer.decode
        while place < len(ids) and not decode(ids[place]).strip() and ids[place]:
            place += 1
        return place
    opening = _user_opening(adapter.tokenizer)
    for start in range(len(ids) - len(opening), -1, -1) if opening else ():
        if ids[start : start + len(opening)] == opening:
            return start + len(opening)
    begins = getattr(adapter.tokenizer, "bos_token_id", None)
    return int(bool(ids) and begins is not None and ids[0] == begins)


def _user_opening(tokenizer: Any) -> list[int]:
    """Ids of what the chat template writes before a user's words, beginning of text excluded."""
    if not getattr(tokenizer, "chat_template", None):
        return []
    probe = "\ufdd0"
    turn = [{"role": "user", "content": probe}]
    try:
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    except Exception:  # templates raise errors of their own making: there is no opening to find
        return []
    head = text.partition(probe)[0].removeprefix(tokenizer.bos_token or "").rstrip(" ")
    return list(tokenizer(head, add_special_tokens=False)["input_ids"])


def edited(
    inputs: Mapping[str, Any],
    edit: Callable[[Sequence[Token], ModelAdapter], list[Token]],
    adapter: ModelAdapter,
    prompt_length: int | None,
) -> dict[str, Any]:
    """Return the model inputs of the batch with every prompt edited, left-padded anew.

    Args:
        inputs: ``input_ids [B, L]`` and whatever belongs to it. What has the same shape is taken to
            be one value a token; new tokens get 0, and 1 in ``attention_mask``.
        edit: applied to each row's prompt, padding stripped.
        adapter: the model.
        prompt_length: columns that belong to prompts, padding included; an answer behind them is
            kept as it is. None: all.

    Raises:
        UserError: nothing is left of a prompt.
    """
    ids: Tensor = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    end = ids.shape[1] if prompt_length is None else prompt_length
    rows: list[list[Token]] = []
    for values, real in zip(ids.tolist(), mask.tolist(), strict=True):
        prompt = [Token(values[i], i) for i in range(end) if real[i]]
        answer = [Token(values[i], i) for i in range(end, ids.shape[1])]
        changed = edit(prompt, adapter)
        if not changed:
            raise UserError("an intervention leaves nothing of a prompt; ask with some text")
        rows.append([*changed, *answer])
    width = max(map(len, rows))
    result = {
        name: value
        for name, value in inputs.items()
        if not (isinstance(value, Tensor) and value.shape == ids.shape)
        and name not in ("attention_mask", "position_ids")
    }
    for name, value in {**inputs, "attention_mask": mask}.items():
        if isinstance(value, Tensor) and value.shape == ids.shape and name != "position_ids":
            fill = 1 if name == "attention_mask" else 0
            made = value.new_zeros(len(rows), width)
            for index, row in enumerate(rows):
                if name == "input_ids":
                    new = [token.id for token in row]
                else:
                    old = value[index].tolist()
                    new = [fill if t.source is None else old[t.source] for t in row]
                made[index, width - len(row) :] = torch.tensor(new, dtype=value.dtype)
            result[name] = made
    shows = bool(adapter.is_visual(result["input_ids"]).any())
    if not (shows and adapter.places_pictures):
        positions = adapter.positions(result["attention_mask"])
    elif inputs.get("position_ids") is not None:
        positions = _moved(inputs["position_ids"], rows, width, adapter)
    else:
        positions = None  # the model lays its pictures out itself, given their grids
    if positions is not None:
        result["position_ids"] = positions
    if not shows:
        result = {name: value for name, value in result.items() if name not in MEDIA_INPUTS}
    return result


def _moved(
    factual: Tensor, rows: Sequence[Sequence[Token]], width: int, adapter: ModelAdapter
) -> Tensor:
    """Return positions ``[n, B, L']`` for rows that show pictures, from the factual ``[n, B, L]``.

    Text counts on by one on every axis. A run of visual tokens keeps its layout, and takes up as
    much of each axis as it does in the factual row.
    """
    visual = set(adapter.visual_tokens)
    made = factual.new_zeros(factual.shape[0], len(rows), width)
    for index, row in enumerate(rows):
        old, place = factual[:, index], factual.new_zeros(factual.shape[0])
        column, start = width - len(row), 0
        while start < len(row):
            first, end = row[start].source, start + 1
            if row[start].id not in visual or first is None:
                made[:, index, column + start] = place
                place = place + 1
            else:
                while end < len(row) and row[end] == (row[start].id, first + end - start):
                    end += 1
                behind = first + end - start
                run = old[:, first:behind]
                made[:, index, column + start : column + end] = run - run[:, :1] + place[:, None]
                after = old[:, behind] if behind < old.shape[1] else run.amax(dim=1) + 1
                place = place + after - run[:, 0]
            start = end
    return made


def appended(inputs: Mapping[str, Any], added: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return model inputs with tokens after every row, padded on the right with masked positions.

    Whatever has the shape of ``input_ids`` ``[B, L]`` is a per-token input and grows with it: the
    mask by ones for real tokens, token types by zeros (text).
    """
    ids: Tensor = inputs["input_ids"]
    width = max(map(len, added))
    if width == 0:
        return dict(inputs)
    tokens = torch.zeros(len(added), width, dtype=ids.dtype, device=ids.device)
    mask = torch.zeros_like(tokens)
    for row, new in enumerate(added):
        tokens[row, : len(new)] = torch.tensor(new, dtype=ids.dtype)
        mask[row, : len(new)] = 1
    grown = {}
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.shape == ids.shape:
            extra = {"input_ids": tokens, "attention_mask": mask}.get(name, torch.zeros_like(mask))
            grown[name] = torch.cat([value, extra.to(value.dtype)], dim=1)
        else:
            grown[name] = value
    return grown


def in_step(factual: Tensor, branch: Tensor) -> Tensor:
    """Return how many of the last positions of each row predict the same token, ``[B]``.

    Two rows run in step from their last different token on: its prediction is of the first token
    that both share.

    Args:
        factual: ids ``[B, L]``.
        branch: ids ``[B, L']``.
    """
    width = min(factual.shape[1], branch.shape[1])
    same = factual[:, factual.shape[1] - width :] == branch[:, branch.shape[1] - width :]
    shared = same.flip(1).long().cumprod(dim=1).sum(dim=1)
    return (shared + 1).clamp(max=width)

"""Where the parts of a prompt are in the tokens of its batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.models.piecewise import borders_of, separated
from lmms_causal.models.prompts import Encoder
from lmms_causal.models.turns import Prompt, last_user_turn
from lmms_causal.segments import Groups, Span

__all__ = ["beheaded", "parts_of", "turn_in_text"]

_OTHER = "\ufdd0"  # a character that no text has


def parts_of(encoder: Encoder, prompt: Prompt, ids: Sequence[int], segments: Groups) -> PromptParts:
    """Return the parts of a prompt in tokens.

    Args:
        encoder: what made the tokens.
        prompt: the prompt.
        ids: its tokens, padding stripped.
        segments: its segments, in tokens.
    """
    turn = turn_in_text(encoder, prompt)
    return PromptParts(turn and _turn_in_tokens(encoder, prompt, ids, turn), segments)


def beheaded(parts: PromptParts, lost: int, key: str) -> PromptParts:
    """Return the parts of a prompt whose first ``lost`` tokens were cut off.

    Raises:
        UserError: they belong to segments.
    """
    starts = [start for group in parts.segments for start, _ in group]
    if starts and min(starts) < lost:
        raise UserError(
            f"{key}: the prompt is too long by {lost} tokens, and cutting its beginning off would "
            "cut into its segments; use a shorter prompt or a smaller max_new_tokens"
        )
    turn = parts.turn and (max(0, parts.turn[0] - lost), parts.turn[1] - lost)
    return PromptParts(
        turn=turn if turn and turn[1] > 0 else None,
        segments=tuple(tuple((a - lost, b - lost) for a, b in group) for group in parts.segments),
    )


def turn_in_text(encoder: Encoder, prompt: Prompt) -> Span | None:
    """Return where the user's last turn is in a prompt's text, placeholders of pictures included.

    It is what changes when the turn is replaced by another. None if the template changes more.
    """
    if prompt.messages is None:
        return prompt.turn
    if last_user_turn(prompt.messages) is None:
        return None
    head, found, tail = encoder.with_other_words(prompt, _OTHER).partition(_OTHER)
    text = prompt.text
    if not text.endswith(tail):  # where answers are scored, blanks at the end belong to the answer
        text, tail = text.rstrip(" "), tail.rstrip(" ")
    stop = len(text) - len(tail)
    if not (found and text.startswith(head) and text.endswith(tail) and len(head) <= stop):
        return None
    return len(head), stop


def _turn_in_tokens(
    encoder: Encoder, prompt: Prompt, ids: Sequence[int], turn: Span
) -> Span | None:
    """The turn's tokens, those that reach into it from outside included.

    Tokens before and behind the turn are counted in the text as it is before pictures are expanded.
    """
    before, inside, behind = _counts(encoder, prompt, turn)
    earlier, own = _media(prompt)
    stop = len(ids) - behind
    if not earlier:
        start = before
    elif not own:
        start = stop - inside
    else:
        start = _after_earlier_pictures(encoder, prompt, ids, turn[0])
    return (start, stop) if 0 <= start <= stop <= len(ids) else None


def _counts(encoder: Encoder, prompt: Prompt, turn: Span) -> tuple[int, int, int]:
    """How many tokens of a prompt's text are before a turn, in it, and behind it."""
    borders = borders_of(prompt.segments)
    tokenizer: Any = encoder.separating.tokenizer if borders else encoder.tokenizer
    separator = encoder.separating.id if borders else None
    text = separated(prompt.text, borders)
    start = turn[0] + sum(border < turn[0] for border in borders)
    stop = turn[1] + sum(border <= turn[1] for border in borders)
    special = not encoder.starts_with_bos(prompt.text)
    if not tokenizer.is_fast:
        return _counts_without_offsets(tokenizer, separator, text, (start, stop), special)
    read = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)
    spans = [
        span
        for span, token in zip(read["offset_mapping"], read["input_ids"], strict=True)
        if token != separator
    ]
    before = next((n for n, (_, end) in enumerate(spans) if end > start), len(spans))
    backwards = enumerate(reversed(spans))
    behind = next((n for n, (a, b) in backwards if a < stop and b > a), len(spans))
    return before, len(spans) - before - behind, behind


def _counts_without_offsets(
    tokenizer: Any, separator: int | None, text: str, turn: Span, special: bool
) -> tuple[int, int, int]:
    """The same, by what the whole text's tokens share with those of its beginning and its end."""

    def read(part: str, special: bool) -> list[int]:
        ids = tokenizer(part, add_special_tokens=special)["input_ids"]
        return [token for token in ids if token != separator]

    whole = read(text, special)
    before = _shared(whole, read(text[: turn[0]], special))
    behind = _shared(whole[::-1], read(text[turn[1] :], False)[::-1])
    return before, len(whole) - before - behind, behind


def _after_earlier_pictures(
    encoder: Encoder, prompt: Prompt, ids: Sequence[int], start: int
) -> int:
    """Tokens before a turn, where pictures in it and before it are expanded, by encoding again."""
    borders = sorted({start, *borders_of(prompt.segments)})
    inputs, (places,) = encoder.encode_apart([prompt], [borders])
    apart = inputs["input_ids"][0].tolist()
    return _shared(ids, apart[: places[borders.index(start)]])


def _media(prompt: Prompt) -> tuple[bool, bool]:
    """Whether earlier turns show pictures or videos, and whether the last one does."""
    if prompt.messages is None:
        return prompt.earlier > 0, len(prompt.images) > prompt.earlier
    last = last_user_turn(prompt.messages)
    shown = [
        turn is last
        for turn in prompt.messages
        for part in turn["content"]
        if part["type"] != "text"
    ]
    return False in shown, True in shown


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many elements two lists share at their beginnings."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))

"""The user's last turn: found in a prompt, rewritten, and replaced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.interventions.question import Question
from lmms_causal.models.marking import unmarked, with_segments
from lmms_causal.models.prompts import Encoder
from lmms_causal.models.turns import Message, Prompt, last_user_turn
from lmms_causal.segments import split, texts_of

__all__ = [
    "last_user_text_rewritten",
    "question_of",
    "with_question",
    "without_segments",
]


def question_of(prompt: Prompt) -> Question:
    """Return the last user turn of a prompt: its words, pictures and videos."""
    if prompt.messages is None:
        images = prompt.images[prompt.earlier :]
        return Question(prompt.question, images, prompt.videos, prompt.key)
    turn = last_user_turn(prompt.messages)
    parts = turn["content"] if turn else ()
    return Question(
        text=prompt.question,
        images=tuple(part["image"] for part in parts if part["type"] == "image"),
        videos=tuple(part["video"] for part in parts if part["type"] == "video"),
        key=prompt.key,
    )


def with_question(encoder: Encoder, prompt: Prompt, question: Question) -> Prompt:
    """Return the prompt with another last user turn, and all else as it was.

    Pictures that stay as many as they were keep their places among the words, and so do videos;
    otherwise they come first. Words keep their places if they have as many lines as before.
    Segments are looked for again in words that have changed.

    Raises:
        UserError: a prompt that lm-eval has rendered, where the number of pictures changes or the
            question is not in one piece; segments that do not stand in the new words once.
    """
    asked = question_of(prompt)
    if question == asked:
        return prompt
    if prompt.messages is not None:
        return _rendered_again(encoder, prompt, question)
    if len(question.images) != len(asked.images) or question.videos != asked.videos:
        raise UserError(
            f"{prompt.key}: this intervention changes how many pictures the question shows, and "
            "lm-eval has rendered the prompt already; run it with the model causal of lmms-eval"
        )
    images = prompt.images[: prompt.earlier] + question.images
    changed = replace(prompt, images=images)
    if question.text != asked.text:
        if prompt.around is None:
            raise UserError(
                f"{prompt.key}: this intervention changes the question's words, which are not in "
                "one piece here: pictures stand between them; run it with the model causal of "
                "lmms-eval, or with few-shot examples add --fewshot_as_multiturn"
            )
        before, after = prompt.around
        text = before + question.text + after
        longer = len(text) - len(prompt.text)
        wanted = texts_of(prompt.text, prompt.segments)
        (words,) = with_segments([question.text], wanted, f"{prompt.key}: an intervention's words")
        _, segments = split(before + words + after)
        turn = prompt.turn and (prompt.turn[0], prompt.turn[1] + longer)
        changed = replace(changed, text=text, question=question.text, turn=turn, segments=segments)
    return changed


def without_segments(prompt: Prompt) -> Prompt:
    """Return the prompt as one that declares no segments."""
    if not prompt.segments:
        return prompt
    return replace(prompt, segments=(), messages=prompt.messages and unmarked(prompt.messages))


def _rendered_again(encoder: Encoder, prompt: Prompt, question: Question) -> Prompt:
    messages = prompt.messages or ()
    turn = last_user_turn(messages)
    if turn is None:
        raise UserError(f"{prompt.key}: the conversation has no user turn to change")
    changed = {**turn, "content": _refilled(turn["content"], question, prompt.question)}
    return encoder.render([changed if it is turn else it for it in messages], prompt.key)


def _refilled(content: Sequence[Message], question: Question, asked: str) -> list[dict[str, Any]]:
    """A turn's parts with the question's words, pictures and videos; ``asked``: the words now."""
    kinds = [part["type"] for part in content]
    texts = [part["text"] for part in content if part["type"] == "text"]
    words: Sequence[str | None] = texts
    if question.text != asked:
        words = _spread(texts, question.text)
        whole, groups = split("".join(texts))
        where = f"{question.key}: an intervention's words"
        words = with_segments(words, texts_of(whole, groups), where)
    new: dict[str, list[Any]] = {
        "image": list(question.images),
        "video": list(question.videos),
        "text": list(words),
    }
    moved = [kind for kind in ("image", "video") if len(new[kind]) != kinds.count(kind)]
    made = [{"type": kind, kind: it} for kind in moved for it in new[kind]]
    made += [{"type": kind, kind: new[kind].pop(0)} for kind in kinds if kind not in moved]
    made += [{"type": "text", "text": it} for it in new["text"]]
    return [part for part in made if part.get("text", "") is not None]


def _spread(old: Sequence[str], text: str) -> list[str | None]:
    """New words over the places of the old ones, by lines; all at the last if they do not fit."""
    lines = text.split("\n")
    counts = [part.count("\n") + 1 for part in old]
    if len(lines) != sum(counts):
        return [None] * (len(old) - 1) + [text]
    taken = iter(lines)
    return ["\n".join(next(taken) for _ in range(count)) for count in counts]


def last_user_text_rewritten(messages: Sequence[Message], rewrite: Any) -> list[dict[str, Any]]:
    """Return the messages with the text of the last user turn replaced by ``rewrite(text)``.

    The text parts of the turn are joined by newlines for the rewrite. Images keep their places,
    also between two texts; a repetition of the text does not repeat them.

    Raises:
        ValueError: the rewrite dropped a part of the text where an image stands.
    """
    turns = [dict(message) for message in messages]
    for turn in reversed(turns):
        if turn["role"] == "user":
            turn["content"] = _parts_rewritten(turn["content"], rewrite)
            break
    return turns


_PLACE = "\ufdd0{}\ufdd1"  # where an image stands between texts; characters that no text has
_PLACES = re.compile("\n?\ufdd0(\\d+)\ufdd1\n?")


def _parts_rewritten(content: Sequence[Message], rewrite: Any) -> list[dict[str, Any]]:
    parts = [dict(part) for part in content]
    texts = [index for index, part in enumerate(parts) if part["type"] == "text"]
    if not texts:
        return parts
    first, behind = texts[0], texts[-1] + 1
    media: list[dict[str, Any]] = []
    words = []
    for part in parts[first:behind]:
        if part["type"] == "text":
            words.append(part["text"])
        else:
            words.append(_PLACE.format(len(media)))
            media.append(part)
    pieces = _PLACES.split(rewrite("\n".join(words)))  # text, number, text, number, ... text
    made = [{"type": "text", "text": pieces[0]}]
    shown: set[int] = set()
    for place, text in zip(map(int, pieces[1::2]), pieces[2::2], strict=True):
        if place in shown:
            made[-1]["text"] += f"\n{text}"
        else:
            shown.add(place)
            made += [media[place], {"type": "text", "text": text}]
    if len(shown) < len(media):
        raise ValueError("a rewrite of a question must keep the text around every image")
    return [*parts[:first], *made, *parts[behind:]]

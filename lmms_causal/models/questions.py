"""The user's last turn: found in a prompt, rewritten, and replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from lmms_causal.errors import UserError
from lmms_causal.interventions.question import Question
from lmms_causal.models.prompts import Encoder, Message, Prompt, last_user_turn

__all__ = ["Asked", "last_user_text_rewritten", "question_of", "with_question"]


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

    Raises:
        UserError: a prompt that lm-eval has rendered, where the number of pictures changes or the
            question is not in one piece.
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
    text = prompt.text
    if question.text != asked.text:
        if prompt.around is None:
            raise UserError(
                f"{prompt.key}: this intervention changes the question's words, which are not in "
                "one piece here: pictures stand between them; run it with the model causal of "
                "lmms-eval, or with few-shot examples add --fewshot_as_multiturn"
            )
        before, after = prompt.around
        text = before + question.text + after
    images = prompt.images[: prompt.earlier] + question.images
    return replace(prompt, text=text, images=images, question=question.text)


def _rendered_again(encoder: Encoder, prompt: Prompt, question: Question) -> Prompt:
    messages = prompt.messages or ()
    turn = last_user_turn(messages)
    if turn is None:
        raise UserError(f"{prompt.key}: the conversation has no user turn to change")
    changed = {**turn, "content": _refilled(turn["content"], question)}
    return encoder.render([changed if it is turn else it for it in messages], prompt.key)


def _refilled(content: Sequence[Message], question: Question) -> list[dict[str, Any]]:
    """A turn's parts with the question's words, pictures and videos."""
    kinds = [part["type"] for part in content]
    texts = [part["text"] for part in content if part["type"] == "text"]
    new: dict[str, list[Any]] = {
        "image": list(question.images),
        "video": list(question.videos),
        "text": _spread(texts, question.text),
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


@dataclass(frozen=True)
class Asked:
    """The user's last turn as lm-eval writes it, located in the prompt that it has become.

    Attributes:
        text: the rendered prompt.
        question: the turn's words, without placeholders and the blanks around them.
        around: the text before and after these words; None if they are not in one piece.
        pictures: how many placeholders the turn has.
    """

    text: str
    question: str
    around: tuple[str, str] | None
    pictures: int

    @classmethod
    def locate(cls, content: str, render: Callable[[str], str], placeholder: str | None) -> Asked:
        """Find a turn in its prompt by rendering it again with other words.

        Args:
            content: the turn.
            render: from the turn to the whole prompt.
            placeholder: what stands for a picture in the turn; None where there are none.
        """
        text = render(content)
        pieces = content.split(placeholder) if placeholder else [content]
        worded = [index for index, piece in enumerate(pieces) if piece.strip()]
        question = "".join(pieces).strip()
        around = None
        if len(worded) == 1:
            other = list(pieces)
            other[worded[0]] = other[worded[0]].replace(question, _OTHER)
            before, found, after = render((placeholder or "").join(other)).partition(_OTHER)
            if found and before + question + after == text:
                around = (before, after)
            elif question in text:
                before, _, after = text.rpartition(question)
                around = (before, after)
        return cls(text, question, around, len(pieces) - 1)

    def prompt(self, images: Sequence[Image.Image], key: str) -> Prompt:
        """Return the prompt with its pictures, those of earlier turns before those of this one."""
        return Prompt(
            self.text,
            tuple(images),
            key=key,
            question=self.question,
            around=self.around,
            earlier=max(0, len(images) - self.pictures),
        )


_OTHER = "\ufdd0"  # a character that no text has


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

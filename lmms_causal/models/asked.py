"""The user's last turn as lm-eval writes it, found in the prompt that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from lmms_causal.models.piecewise import MEDIUM, located
from lmms_causal.models.turns import Prompt
from lmms_causal.segments import Groups, Span, strip

__all__ = ["Asked", "Content"]

_OTHER = "\ufdd0"  # a character that no text has


@dataclass(frozen=True)
class Content:
    """The user's last turn before it is rendered.

    Attributes:
        text: its words, with placeholders of pictures, and markers around segments.
        render: from the turn to the whole prompt.
    """

    text: str
    render: Callable[[str], str]


@dataclass(frozen=True)
class Asked:
    """The user's last turn as lm-eval writes it, located in the prompt that it has become.

    Attributes:
        text: the rendered prompt.
        question: the turn's words, without placeholders and the blanks around them.
        around: the text before and after these words; None if they are not in one piece.
        pictures: how many placeholders the turn has.
        turn: where the turn is in the text, placeholders included; None if the template changes
            more than that with it.
        segments: where the turn's segments are in the text.
    """

    text: str
    question: str
    around: tuple[str, str] | None
    pictures: int
    turn: Span | None = None
    segments: Groups = ()

    @classmethod
    def locate(
        cls,
        content: str,
        render: Callable[[str], str],
        placeholder: str | None,
        key: str = "",
    ) -> Asked:
        """Find a turn in its prompt by rendering it again with other words.

        Args:
            content: the turn, with markers around its segments.
            render: from the turn to the whole prompt.
            placeholder: what stands for a picture in the turn; None where there are none.
            key: the document, for errors.

        Raises:
            UserError: markers that a chat template does not keep in their places.
        """
        shown = content.replace(placeholder, MEDIUM) if placeholder else content
        text, segments = located(render(content), shown, key)
        content = strip(content)
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
        head, found, tail = render(_OTHER).partition(_OTHER)
        known = found and text.startswith(head) and text.endswith(tail)
        stop = len(text) - len(tail)
        turn = (len(head), stop) if known and len(head) <= stop else None
        return cls(text, question, around, len(pieces) - 1, turn, segments)

    def prompt(self, images: Sequence[Image.Image], key: str) -> Prompt:
        """Return the prompt with its pictures, those of earlier turns before those of this one."""
        return Prompt(
            self.text,
            tuple(images),
            key=key,
            question=self.question,
            around=self.around,
            earlier=max(0, len(images) - self.pictures),
            turn=self.turn,
            segments=self.segments,
        )

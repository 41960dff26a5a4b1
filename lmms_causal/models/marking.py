"""From what a task declares to markers around the segments of the user's last turn.

Whatever the declaration - markers in the prompt's text, a document's field ``segments``, the
argument ``segment_regex`` - it becomes markers in the turn's text, which travel through the chat
template and are then taken out (:mod:`~lmms_causal.models.piecewise`). Without an intervention that
reads segments there are none from the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lmms_causal.errors import UserError
from lmms_causal.interventions.spec import Spec
from lmms_causal.models.piecewise import located
from lmms_causal.models.turns import Message, content_of, last_user_turn
from lmms_causal.segments import (
    compiled,
    declared,
    find,
    is_marked,
    marked,
    matches,
    split,
    strip,
    texts_of,
)

__all__ = ["Marking", "unmarked", "with_segments"]

_Text = TypeVar("_Text", str, "str | None")

_NOT_REWRITTEN = "leave out what rewrites the question"


def with_segments(
    texts: Sequence[_Text], segments: Sequence[Sequence[str]], where: str, remedy: str = ""
) -> list[_Text]:
    """Return the texts of a turn with markers around segments that stand in them.

    Args:
        texts: texts without markers; None is no text.
        segments: groups, each of which stands in one of the texts, once.
        where: what the texts are, for errors.
        remedy: what to do, for errors.

    Raises:
        UserError: a group that is not there, or several times, or overlaps another.
    """
    places: list[list[tuple[tuple[int, int], ...]]] = [[] for _ in texts]
    for group in segments:
        found = [(n, spans) for n, text in enumerate(texts) for spans in find(text or "", group)]
        if len(found) != 1:
            raise UserError(
                f"{where} has the segments {_shortened(group)} {len(found)} times; it must have "
                f"them once, each right behind the one before; {remedy or _NOT_REWRITTEN}"
            )
        index, spans = found[0]
        if any(a[0][0] < spans[-1][1] and spans[0][0] < a[-1][1] for a in places[index]):
            raise UserError(
                f"{where} has the segments {_shortened(group)} inside of another group; groups "
                "must stand apart"
            )
        places[index].append(spans)
    return [
        text if not spans else marked(text or "", tuple(spans))
        for text, spans in zip(texts, places, strict=True)
    ]


def unmarked(messages: Sequence[Message]) -> tuple[dict[str, Any], ...]:
    """Return a conversation without markers."""
    return tuple(
        {**turn, "content": strip(turn["content"])}
        if isinstance(turn["content"], str)
        else {**turn, "content": _with_texts(turn["content"], map(strip, _texts(turn)))}
        for turn in messages
    )


@dataclass(frozen=True)
class Marking:
    """How the texts of a run get their markers.

    Attributes:
        interventions: the spec, for errors.
        reads: whether the plan reads segments. If not, all markers are taken out.
        rewrites: whether the plan rewrites questions.
        pattern: every match of it in the turn is a segment; it goes before other declarations.
    """

    interventions: str
    reads: bool
    rewrites: bool
    pattern: re.Pattern[str] | None = None

    @classmethod
    def of(cls, spec: Spec, segment_regex: Any = None) -> Marking:
        """Return what a spec and the argument ``segment_regex`` ask for.

        Raises:
            UserError: the argument is no regular expression.
        """
        plan = spec.plan()
        pattern = None if segment_regex in (None, "") else compiled(segment_regex)
        return cls(str(spec), plan.reads_segments, bool(plan.rewrites), pattern)

    def rewritten(self, text: str, rewrite: Callable[[str], str]) -> str:
        """Return a turn's text after the plan's rewrites, with the markers of what it declares.

        Raises:
            UserError: markers not in pairs; segments that do not stand in the new text once.
        """
        plain = strip(text)
        new = rewrite(plain) if self.rewrites else plain
        if not self.reads:
            return new
        (text,) = self._matched([text])
        return text if new == plain else self._again([text], [new])[0]

    def completed(self, text: str, doc: Any, key: str) -> str:
        """Return a turn's text with the markers of a document's own segments, if it has none.

        Raises:
            UserError: the document declares none, or others than stand in the text once.
        """
        if not self.reads:
            return text
        (text,) = self._completed([text], doc, key)
        located(text, text, key)
        return text

    def conversation(
        self,
        turns: Sequence[Message],
        rewrite: Callable[[Sequence[Message]], list[dict[str, Any]]],
        doc: Any,
        key: str,
    ) -> list[dict[str, Any]]:
        """Return a conversation after the plan's rewrites, its last user turn with markers.

        Args:
            turns: messages of parts; markers in other turns than the user's last are taken out.
            rewrite: replaces the words of the last user turn.
            doc: the document.
            key: its name, for errors.

        Raises:
            UserError: as :meth:`rewritten` and :meth:`completed`.
        """
        last = last_user_turn(turns)
        plain = list(unmarked(turns)) if any(map(_is_marked, turns)) else [dict(t) for t in turns]
        made = rewrite(plain) if self.rewrites else plain
        if not self.reads:
            return made
        if last is None:
            raise UserError(
                f"{key}: interventions={self.interventions} reads segments of the user's turn, and "
                "this conversation has none; leave the intervention out for this task"
            )
        index = next(n for n, turn in enumerate(turns) if turn is last)
        try:
            texts = self._matched(_texts(last))
            if self.rewrites and _texts(made[index]) != [strip(text) for text in texts]:
                texts = self._again(texts, _texts(made[index]))
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
        texts = self._completed(texts, doc, key)
        turn = {**made[index], "content": _with_texts(made[index]["content"], texts)}
        content = content_of(turn)
        located(content, content, key)
        return [*made[:index], turn, *made[index + 1 :]]

    def _matched(self, texts: Sequence[str]) -> list[str]:
        """Texts with the markers that they have, or those around matches of the pattern."""
        if self.pattern is None:
            return list(texts)
        plain = [strip(text) for text in texts]
        found = [marked(text, matches(text, self.pattern)) for text in plain]
        if not any(map(is_marked, found)):
            raise UserError(
                f"segment_regex={self.pattern.pattern} matches nothing in the user's turn "
                f"{''.join(plain)[-60:]!r}"
            )
        return found

    def _again(self, old: Sequence[str], new: Sequence[str]) -> list[str]:
        """The new texts, with the segments that the old ones mark."""
        whole, groups = split("".join(old))
        where = f"interventions={self.interventions}: the question as they ask it"
        return with_segments(new, texts_of(whole, groups), where)

    def _completed(self, texts: Sequence[str], doc: Any, key: str) -> list[str]:
        if any(map(is_marked, texts)):
            return list(texts)
        value = doc.get("segments") if isinstance(doc, Mapping) else None
        if value is None or (hasattr(value, "__len__") and len(value) == 0):
            raise UserError(
                f"{key}: interventions={self.interventions} reads segments, and this document "
                "declares none; a task gives them in a field segments, the texts as they stand in "
                "the prompt, or marks them there; for tasks of others pass segment_regex=REGEX"
            )
        try:
            groups = declared(value)
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
        where = f"{key}: the user's turn"
        remedy = "the field segments must list them as they stand there, line ends included"
        if self.rewrites:
            where = f"{key}: the user's turn, as interventions={self.interventions} ask it,"
            remedy = _NOT_REWRITTEN
        return with_segments(texts, groups, where, remedy)


def _texts(turn: Message) -> list[str]:
    return [part["text"] for part in turn["content"] if part["type"] == "text"]


def _is_marked(turn: Message) -> bool:
    return any(map(is_marked, _texts(turn)))


def _with_texts(content: Sequence[Message], texts: Iterable[str]) -> list[dict[str, Any]]:
    """A turn's parts with other texts, as many as before."""
    rest = iter(texts)
    return [
        {**part, "text": next(rest)} if part["type"] == "text" else dict(part) for part in content
    ]


def _shortened(group: Sequence[str]) -> str:
    text = "".join(group)
    return repr(text if len(text) <= 60 else f"{text[:28]}...{text[-28:]}")

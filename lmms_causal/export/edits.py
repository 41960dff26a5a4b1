"""Changes to a piece of source by the places that syntax nodes have in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

__all__ = ["Edits", "rename_in_f_string"]


class Edits:
    """Changes to the lines ``first .. last`` (1-based, both included) of a source text.

    Columns of syntax nodes count bytes of UTF-8, so this does too.
    """

    def __init__(self, source: str, first: int, last: int) -> None:
        lines = source.encode().splitlines(keepends=True)
        self._first = first
        self._starts = [0]
        for line in lines[first - 1 : last]:
            self._starts.append(self._starts[-1] + len(line))
        self._text = b"".join(lines[first - 1 : last])
        self._changes: dict[tuple[int, int], bytes] = {}

    def replace(self, node: ast.AST, text: str) -> None:
        """Put a text in the place of a node."""
        self._changes[self._span(node)] = text.encode()

    def quote(self, node: ast.AST) -> None:
        """Put quotation marks around a node, whatever else changes in it."""
        start, stop = self._span(node)
        for place in (start, stop):
            self._changes.setdefault((place, place), b'"')

    def rename_definition(self, node: ast.AST, old: str, new: str) -> None:
        """Rename the function or class that a statement defines."""
        start, stop = self._span(node)
        found = re.compile(rb"\b(?:def|class)\s+(" + old.encode() + rb")\b").search(
            self._text, start, stop
        )
        assert found, f"no definition of {old}"
        self._changes[found.span(1)] = new.encode()

    def rename_words(self, node: ast.AST, names: Mapping[str, str]) -> None:
        """Rename whole words in a node, such as the names of a ``global`` statement."""
        self.replace(node, _renamed(self.text_of(node), names))

    def delete(self, node: ast.stmt) -> None:
        """Take a statement away, with its line."""
        start, stop = self._span(node)
        start = self._text.rfind(b"\n", 0, start) + 1
        self._changes[(start, self._text.find(b"\n", stop) + 1)] = b""

    def text_of(self, node: ast.AST) -> str:
        """The unchanged text of a node."""
        start, stop = self._span(node)
        return self._text[start:stop].decode()

    def result(self) -> str:
        """The text with all changes made."""
        pieces, done = [], 0
        for (start, stop), text in sorted(self._changes.items()):
            assert done <= start, f"two changes in one place: {text.decode()!r}"
            pieces += [self._text[done:start], text]
            done = stop
        return b"".join([*pieces, self._text[done:]]).decode()

    def _span(self, node: ast.AST) -> tuple[int, int]:
        start = self._starts[node.lineno - self._first] + node.col_offset  # type: ignore[attr-defined]
        stop = self._starts[node.end_lineno - self._first] + node.end_col_offset  # type: ignore[attr-defined]
        return start, stop


def rename_in_f_string(text: str, names: Mapping[str, str]) -> str:
    """Rename in the replacement fields of an f-string's source, and nowhere else in it.

    Keys may be dotted. A string inside a field must not hold braces.

    >>> rename_in_f_string("f'{{VARIANTS}} {VARIANTS} {scoring.VARIANTS:>{WIDTH}}'",
    ...                    {"VARIANTS": "V", "scoring.VARIANTS": "S", "WIDTH": "W"})
    "f'{{VARIANTS}} {V} {S:>{W}}'"
    """
    pieces: list[str] = []
    depth = start = 0
    position = 0
    while position < len(text):
        character = text[position]
        if depth == 0 and text[position : position + 2] in ("{{", "}}"):
            position += 2
            continue
        if character == "{":
            if depth == 0:
                pieces.append(text[start : position + 1])
                start = position + 1
            depth += 1
        elif character == "}" and depth:
            depth -= 1
            if depth == 0:
                pieces.append(_renamed(text[start:position], names))
                start = position
        position += 1
    return "".join([*pieces, text[start:]])


def _renamed(text: str, names: Mapping[str, str]) -> str:
    if not names:
        return text
    words = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    # Not an attribute, not a string, not the name of a keyword argument.
    return re.sub(
        rf"(?<![\w.'\"])(?:{words})(?!\w)(?!\s*=[^=])", lambda found: names[found[0]], text
    )

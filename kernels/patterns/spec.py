"""The text form of patterns, for command lines and model arguments.

    patterns  = pattern { "+" pattern "@" layer { "," layer } }      the first for all other layers
    layer     = number | first "-" last                              from 0; -1 is the last
    pattern   = both { "|" both }
    both      = without { "&" without }
    without   = one { "-" one }
    one       = "(" pattern ")" | name [ "(" argument { "," argument } ")" ]
    argument  = [ parameter "=" ] value                              without a name in order

Values are whole numbers, ``true`` and ``false``, ``none``, words, extents such as ``7x7``, and
ranges such as ``0:35|611:704``, half open. Names are those of ``registry.py``.

Inside arguments of something else, as in ``sparse(pattern=power[window=5/sink=1]+dense@0/1)``,
parentheses, semicolons and commas are taken already: brackets and slashes mean the same.
"""

from __future__ import annotations

import re
import types
from dataclasses import MISSING, fields
from typing import Any, Union, get_args, get_origin, get_type_hints

from lmms_causal.errors import UserError, nearest
from lmms_causal.kernels.patterns.base import AttentionPattern
from lmms_causal.kernels.patterns.combine import Both, Either, Without
from lmms_causal.kernels.patterns.per_layer import PerLayer
from lmms_causal.kernels.patterns.registry import entry, name_of

__all__ = ["parse_pattern", "pattern_text"]

_NAME = re.compile(r"[A-Za-z_]\w*")
_LAYER = re.compile(r"(-?\d+)(?:-(\d+))?")
_LAYERS = re.compile(r"-?\d+(?:-\d+)?(?:[,/]-?\d+(?:-\d+)?)*")
_CLOSING = {"(": ")", "[": "]"}
_OPERATORS: tuple[tuple[str, type[Any]], ...] = (("|", Either), ("&", Both), ("-", Without))
"""From the loosest to the tightest, as in Python."""


def parse_pattern(text: str) -> AttentionPattern | PerLayer:
    """Read a pattern, or patterns per layer.

    Raises:
        UserError: a syntax error; a name, parameter or value that is not known or out of range.
    """
    reader = _Reader(text)
    default = reader.pattern()
    others: list[tuple[int, AttentionPattern]] = []
    while reader.take("+"):
        pattern = reader.pattern()
        if not reader.take("@"):
            raise reader.error("name its layers, as in +dense@0,1")
        others += [(layer, pattern) for layer in reader.layers()]
    if not reader.at_end:
        if reader.rest.startswith("@"):
            raise reader.error("the first pattern is for all layers that others do not name")
        raise reader.error("expected | & - + or the end")
    return PerLayer(default, tuple(others)) if others else default


def pattern_text(pattern: AttentionPattern | PerLayer, nested: bool = False) -> str:
    """Return the text of a pattern, which :func:`parse_pattern` reads back.

    Args:
        pattern: the pattern, or the patterns per layer.
        nested: whether it is to stand inside arguments of something else.
    """
    text = _per_layer(pattern) if isinstance(pattern, PerLayer) else _expression(pattern, 0)
    return text.translate(str.maketrans("(),", "[]/")) if nested else text


class _Reader:
    """A place in a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    @property
    def rest(self) -> str:
        """What is still to be read, blanks skipped."""
        return self.text[self.place :].lstrip()

    @property
    def at_end(self) -> bool:
        """Whether all is read."""
        return not self.rest

    def take(self, mark: str) -> bool:
        """Whether a mark is next, which then is read."""
        if not self.rest.startswith(mark):
            return False
        self.place = len(self.text) - len(self.rest) + len(mark)
        return True

    def error(self, expected: str) -> UserError:
        """An error here."""
        found = repr(self.rest) if self.rest else "the end"
        return UserError(f"pattern={self.text}: cannot read {found}; {expected}")

    def pattern(self, level: int = 0) -> AttentionPattern:
        """Patterns joined by the operators from a level on."""
        if level == len(_OPERATORS):
            return self.one()
        mark, joined = _OPERATORS[level]
        found = self.pattern(level + 1)
        while self.take(mark):
            found = joined(found, self.pattern(level + 1))
        return found

    def one(self) -> AttentionPattern:
        """A pattern by name, or in parentheses."""
        for opening, closing in _CLOSING.items():
            if self.take(opening):
                found = self.pattern()
                if not self.take(closing):
                    raise self.error(f"expected {closing}")
                return found
        match = _NAME.match(self.rest)
        if match is None:
            raise self.error("expected a name, as in window(256,sink=4)")
        self.take(match[0])
        return _build(match[0], self.arguments(match[0]))

    def arguments(self, name: str) -> list[str]:
        """What stands in parentheses behind a name."""
        for opening, closing in _CLOSING.items():
            if self.take(opening):
                inside, mark, _ = self.rest.partition(closing)
                if not mark:
                    raise self.error(f"expected {closing} behind the arguments of {name}")
                self.take(inside + mark)
                return [part.strip() for part in re.split(r"[,;/]", inside) if part.strip()]
        return []

    def layers(self) -> list[int]:
        """The layers behind an ``@``."""
        match = _LAYERS.match(self.rest)
        if match is None:
            raise self.error("expected layers, as in @0,1 or @0,8-11,-1")
        self.take(match[0])
        found: list[int] = []
        for part in re.split("[,/]", match[0]):
            one = _LAYER.fullmatch(part)
            assert one is not None
            first, last = int(one[1]), int(one[2] or one[1])
            if last < first or (one[2] and first < 0):
                raise UserError(
                    f"pattern={self.text}: layers {part} are none; give the first and the last, "
                    "counted from 0"
                )
            found += range(first, last + 1)
        return found


def _build(name: str, arguments: list[str]) -> AttentionPattern:
    cls = entry(name).cls
    known = [field.name for field in fields(cls) if field.init]  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for place, argument in enumerate(arguments):
        parameter, equals, value = (part.strip() for part in argument.partition("="))
        if not equals:
            if place >= len(known) or any("=" in earlier for earlier in arguments[:place]):
                raise UserError(
                    f"pattern {name}: {argument!r} has no name; it takes "
                    f"{', '.join(known) or 'none'}"
                )
            parameter, value = known[place], argument
        if parameter not in known:
            raise UserError(
                f"pattern {name}: unknown parameter {parameter!r}{nearest(parameter, known)}; it "
                f"takes {', '.join(known) or 'none'}"
            )
        if parameter in values:
            raise UserError(f"pattern {name}: parameter {parameter!r} is given twice")
        values[parameter] = _value(name, parameter, value, hints[parameter])
    for field in fields(cls):  # type: ignore[arg-type]
        if field.init and field.default is MISSING and field.name not in values:
            raise UserError(f"pattern {name}: parameter {field.name!r} is required")
    return cls(**values)


def _value(name: str, parameter: str, text: str, hint: Any) -> Any:
    """Read a value as the annotated type: bool, int, str, a tuple of them, ranges, or None."""
    if get_origin(hint) in (Union, types.UnionType):
        if text.lower() == "none":
            return None
        hint = next(option for option in get_args(hint) if option is not type(None))
    where = f"pattern {name}: {parameter}={text}"
    if hint is str:
        if _NAME.fullmatch(text) is None:
            raise UserError(f"{where} is not a word")
        return text
    if hint is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise UserError(f"{where} is not true or false")
        return text.lower() in ("true", "1")
    if hint is int:
        if re.fullmatch(r"-?\d+", text) is None:
            raise UserError(f"{where} is not a whole number")
        return int(text)
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if not text:
            return ()
        if get_origin(inner) is not tuple:
            return tuple(_value(name, parameter, part, inner) for part in text.split("x"))
        ranges = [re.fullmatch(r"(\d+):(\d+)", part) for part in text.split("|")]
        if None in ranges:
            raise UserError(f"{where} is not START:STOP, or several joined by |")
        return tuple((int(one[1]), int(one[2])) for one in ranges if one is not None)
    raise UserError(f"{where} cannot be written as text; make the pattern in Python")


def _expression(pattern: AttentionPattern, level: int) -> str:
    """The text of a pattern where operators from a level on may stand without parentheses."""
    for own, (mark, joined) in enumerate(_OPERATORS):
        if type(pattern) is joined:
            first = _expression(pattern.first, own)
            text = f"{first}{mark}{_expression(pattern.second, own + 1)}"
            return f"({text})" if own < level else text
    name = name_of(type(pattern))
    if name is None:
        return repr(pattern)
    given = []
    for field in fields(pattern):  # type: ignore[arg-type]
        value = getattr(pattern, field.name)
        if field.init and (field.default is MISSING or value != field.default):
            given.append(f"{field.name}={_printed(value)}")
    return f"{name}({','.join(given)})" if given else name


def _printed(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        if value and isinstance(value[0], tuple):
            return "|".join(f"{start}:{stop}" for start, stop in value)
        return "x".join(map(_printed, value))
    return str(value).lower() if value is None else str(value)


def _per_layer(patterns: PerLayer) -> str:
    named: dict[AttentionPattern, list[int]] = {}
    for layer, pattern in patterns.others:
        named.setdefault(pattern, []).append(layer)
    parts = [_expression(patterns.default, 0)]
    for pattern, layers in named.items():
        parts.append(f"{_expression(pattern, 0)}@{','.join(map(str, layers))}")
    return "+".join(parts)

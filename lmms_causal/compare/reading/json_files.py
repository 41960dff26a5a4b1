"""Read JSON that may be cut off, compressed, edited by hand or of another kind, in one place.

What comes out of here can be shown, hashed, walked recursively and written as strict UTF-8, so that
no other file of this package has to expect the contrary.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

#: Walking data recursively takes several frames a level; Python allows 1,000.
_DEEPEST = 100
_GZIP = b"\x1f\x8b"
_LONE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


def load_json(file: Path, what: str, remedy: str) -> Any:
    """The content of a JSON file.

    Args:
        file: The file.
        what: What it then is not, for the message ("not a results file").
        remedy: What to do when it is something else, for the message.

    Raises:
        UserError: It cannot be read, is not UTF-8 or not JSON.
    """
    try:
        return _parsed(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{file}: {what} ({_reason(error)}); {remedy}") from None


def json_lines(file: Path, what: str, remedy: str) -> Iterator[tuple[int, Any]]:
    """The lines of a JSON Lines file with their numbers from 1, without the empty ones.

    Args:
        file: The file.
        what: What a line then is not, for the message ("not a row of a samples file").
        remedy: What to do when a line is something else, for the message.

    Raises:
        UserError: The file cannot be read, or a line is not UTF-8 or not JSON.
    """
    line = 1
    try:
        with file.open("rb") as lines:
            for line, raw in enumerate(lines, start=1):
                if raw.strip():
                    yield line, _parsed(raw)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{file}:{line}: {what} ({_reason(error)}); {remedy}") from None


def too_large(value: Any, place: str = "") -> str | None:
    """The place of an integer in `value` beyond the range of scores, which are float64, or None."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        found = (too_large(item, f"{place}.{key}") for key, item in items)
        return next((one for one in found if one is not None), None)
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return place
    return None


def _parsed(raw: bytes) -> Any:
    """Parse one JSON text.

    Raises:
        ValueError: Not JSON in UTF-8, a number of thousands of digits, or nested too deeply.
    """
    if raw.startswith(_GZIP):
        raise ValueError("compressed by gzip: unpack it")
    text = raw.decode("utf-8-sig")
    if text.count("[") + text.count("{") > _DEEPEST and _depth_bound(text) > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} levels deep")
    value = json.loads(text)
    return _without_lone_surrogates(value) if _ESCAPED.search(text) else value


def _depth_bound(text: str) -> int:
    """How deeply brackets are nested outside of strings."""
    depth = deepest = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


def _without_lone_surrogates(value: Any) -> Any:
    r"""Half a character (``"\ud800"``) is no text that a file can hold: it becomes its escape."""
    if isinstance(value, str):
        return _LONE.sub(lambda half: f"\\u{ord(half[0]):04x}", value)
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {
            _without_lone_surrogates(key): _without_lone_surrogates(item)
            for key, item in value.items()
        }
    return value


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text (byte {error.start + 1} is 0x{error.object[error.start]:02x})"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error}"
    text = str(error)
    return "a number of thousands of digits" if "int_max_str_digits" in text else text

"""What is checked of ``--model_args`` as it was typed, before a harness makes a mapping of it.

Afterwards a name that was given twice has one value, and what the harness sets itself has won.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.errors import UserError

__all__ = ["check_text", "refuse_batch_size", "typed"]

_OPENING, _CLOSING = "{[", "}]"


def check_text(text: str) -> None:
    """Refuse arguments that a harness would drop, or end with a traceback for.

    Raises:
        UserError: one without ``=``, or a name that is there twice.
    """
    seen: dict[str, str] = {}
    for part in _parts(text):
        name, equals, _ = part.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UserError(
                f"--model_args: {part!r} is not name=value; commas separate arguments (inside an "
                "intervention write ;)"
            )
        if name in seen:
            raise UserError(
                f"--model_args: {name} is there twice ({seen[name]} and {part}); name it once"
                + (" and join methods with +" if name == "interventions" else "")
            )
        seen[name] = part


def refuse_batch_size(arguments: Mapping[str, Any], harness: Mapping[str, Any] | None) -> None:
    """Refuse a batch size among the arguments where the harness passes its own, which wins.

    Args:
        arguments: as they were typed.
        harness: what the harness adds from its own options.

    Raises:
        UserError: both have ``batch_size``.
    """
    if "batch_size" in arguments and (harness or {}).get("batch_size") is not None:
        raise UserError(
            f"model argument batch_size={arguments['batch_size']}: the harness's own option "
            "decides; use --batch_size"
        )


def typed(words: Sequence[str], short: str) -> tuple[str, str]:
    """Return ``--model`` and ``--model_args`` of a command line as they were typed, or ``""``.

    Args:
        words: of the command line.
        short: the letters that stand for the two options in this order, such as ``Ma``.

    Several words or several options of arguments are joined with commas; one that is JSON, which
    names nothing twice that could be seen here, is left out.
    """
    found: dict[str, list[str]] = {"model": [], "model_args": []}
    current = None
    for word in words:
        option, equals, value = word.partition("=")
        if word.startswith("-"):
            current = _option(option, short)
            if current and equals:
                found[current].append(value)
        elif current:
            found[current].append(word)
    arguments = [text for text in found["model_args"] if not text.lstrip().startswith("{")]
    return (found["model"] or [""])[-1], ",".join(arguments)


def _option(option: str, short: str) -> str | None:
    if option in ("--model", f"-{short[0]}"):
        return "model"
    if option == f"-{short[1]}" or (len(option) > 7 and "--model_args".startswith(option)):
        return "model_args"
    return None


def _parts(text: str) -> list[str]:
    """Split at commas outside quotes, brackets and braces, as lmms-eval does."""
    parts, depth, quote = [""], 0, ""
    for place, character in enumerate(text):
        if character in "\"'" and text[place - 1 : place] != "\\":
            quote = "" if character == quote else quote or character
        elif not quote and character in _OPENING:
            depth += 1
        elif not quote and character in _CLOSING:
            depth -= 1
        elif not quote and character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts if part.strip()]

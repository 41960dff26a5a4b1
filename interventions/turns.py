"""The user's turn as text: its question, and the instruction how to answer it."""

from __future__ import annotations

__all__ = ["split_format"]


def split_format(text: str, format_from: str | None) -> tuple[str, str]:
    """Return the question and the answer-format instruction behind it, as they are written.

    Args:
        text: the turn.
        format_from: first words of the line at which the instruction starts; of several such
            lines the last. None, or no such line: the turn has no instruction.
    """
    if format_from is None:
        return text, ""
    lines = text.splitlines(keepends=True)
    starts = [i for i, line in enumerate(lines) if line.lstrip().startswith(format_from)]
    if not starts:
        return text, ""
    return "".join(lines[: starts[-1]]), "".join(lines[starts[-1] :])

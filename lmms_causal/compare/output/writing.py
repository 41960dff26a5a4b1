"""Where a comparison is written: targets refused before anything is computed, and the writing."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmms_causal.compare.reading.locate import is_results_name, samples_file
from lmms_causal.compare.records import Run
from lmms_causal.errors import UserError

__all__ = ["check_runs_are_kept", "check_targets", "print_text", "write_text"]


def _json_escape(error: UnicodeError) -> tuple[str, int]:
    r"""Spell what an encoding lacks as JSON does (``\u00e9``), which is right in text and JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error("lmms_causal.json_escape", _json_escape)


def check_targets(targets: Mapping[str, Path | None]) -> None:
    """Refuse files that cannot be written, by what can be seen before.

    Args:
        targets: File by option; None where the option was not given.

    Raises:
        UserError: A target is a folder, is in none, or is that of another option.
    """
    taken: dict[str, str] = {}
    for option, target in targets.items():
        if target is None:
            continue
        try:
            is_folder, has_folder = target.is_dir(), target.absolute().parent.is_dir()
        except OSError as error:
            raise UserError(f"{option} {target}: cannot be written ({error.strerror})") from None
        if is_folder:
            raise UserError(f"{option} {target}: is a folder; name a file in it")
        if not has_folder:
            raise UserError(
                f"{option} {target}: cannot be written; name a file in a folder that exists"
            )
        other = taken.setdefault(os.path.realpath(target), option)
        if other != option and not _is_device(target):
            raise UserError(f"{option} {target}: {other} writes there; name another file")


def check_runs_are_kept(
    targets: Mapping[str, Path | None], runs: Sequence[Run], named: Sequence[Path]
) -> None:
    """Refuse to write over a file of a run, or what would be taken for another run beside it.

    Args:
        targets: File by option; None where the option was not given.
        runs: The runs that were read.
        named: The paths that named them, folders or files.

    Raises:
        UserError: A target is such a file.
    """
    folders = {os.path.realpath(path if path.is_dir() else path.parent) for path in named}
    folders |= {os.path.realpath(run.path.parent) for run in runs}
    own = {
        os.path.realpath(file)
        for run in runs
        for file in (run.path, *(samples_file(run.path, name) for name in run.tasks))
        if file is not None
    }
    for option, target in targets.items():
        if target is None:
            continue
        real = os.path.realpath(target)
        if real in own or (target.exists() and any(target.samefile(file) for file in own)):
            raise UserError(f"{option} {target}: is a file of a run compared; name another file")
        if is_results_name(target.name) and any(_inside(real, folder) for folder in folders):
            raise UserError(
                f"{option} {target}: would be taken for a results file of the run in that folder; "
                "choose a name other than *_results.json or results_*.json, or another folder"
            )


def write_text(option: str, path: Path, text: str) -> None:
    """Write a text file in UTF-8.

    Raises:
        UserError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8", errors="lmms_causal.json_escape")
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be written ({error.strerror})") from None


def print_text(text: str) -> None:
    """Write to standard output, all of it, in whatever encoding it has.

    A reader that has gone, as ``head`` goes, is no error.

    Raises:
        UserError: It is closed, or full.
    """
    stream = sys.stdout
    try:
        if stream is None:
            raise OSError(0, "it is closed")
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "lmms_causal.json_escape").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        _forget(stream)
    except OSError as error:
        _forget(stream)
        raise UserError(
            f"standard output: cannot be written ({error.strerror}); name a file with --output"
        ) from None


def _forget(stream: object) -> None:
    """Let what is still buffered go nowhere, or Python complains of it when it ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        os.close(nowhere)
    except (AttributeError, OSError, ValueError):  # closed, or no file of the system
        return


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _is_device(target: Path) -> bool:
    return target.exists() and not target.is_file()

"""Files that are there whole or not at all, whenever a process or its machine stops."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

__all__ = [
    "clear_away",
    "digest_file",
    "read_json",
    "sync_folder",
    "unwritable",
    "write_json",
    "write_text",
]

_UNFINISHED = ".new"


def digest_file(file: Path) -> str:
    """Return the SHA-256 of a file's content."""
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            total.update(block)
    return total.hexdigest()


def read_json(file: Path) -> dict[str, Any] | None:
    """Return the mapping that a JSON file holds; None where there is none.

    Raises:
        UserError: a file that may not be read.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    return value if isinstance(value, dict) else None


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file as `write_text` does."""
    write_text(file, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all; it is on disk when this returns.

    Processes of several machines may write the same file: the last one's is there in the end.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    # A name of its own for every writer: process ids repeat from machine to machine.
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(temporary, flags | getattr(os, "O_BINARY", 0), 0o666)
            try:
                data = text.encode("utf-8", "backslashreplace")
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, file)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(file.parent)
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from None


def clear_away(folder: Path) -> None:
    """Delete what a killed `write_text` left; only for who has the folder to itself."""
    for file in folder.glob(f".*{_UNFINISHED}"):
        with suppress(OSError):
            file.unlink()


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk; a new file's content alone is not enough."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(folder: Path) -> str | None:
    """Return why nothing can be written into a folder, or None if something can."""
    file = folder / f".{secrets.token_hex(4)}{_UNFINISHED}"
    try:
        try:
            with file.open("xb") as stream:
                stream.write(bytes(2**12))  # more than fits into the folder's own entry
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            with suppress(OSError):
                file.unlink()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None

"""Which state of a data set was read, where none could be pinned: said once, for the record.

A release that was not at hand when its task was written has no known revision and no checksum. Two
runs can then only be told to have used the same data by what the loaders found.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lmms_causal.tasks.download import sha256_of

if TYPE_CHECKING:
    import datasets

__all__ = ["content_of", "note", "revision_of_dataset", "revision_of_file"]

_log = logging.getLogger(__name__)
_AT = re.compile(r"@([0-9a-f]{7,40})/")


def revision_of_file(path: Path) -> str:
    """The commit of a file in the hub's cache, ``.../snapshots/COMMIT/...``; else its checksum."""
    parts = path.parts
    if "snapshots" in parts[:-2]:
        return f"revision {parts[parts.index('snapshots') + 1]}"
    return f"sha256 {sha256_of(path)}"


def revision_of_dataset(table: datasets.Dataset) -> str:
    """The commit that ``datasets`` resolved, from the addresses of the files it read."""
    for address in table.info.download_checksums or {}:
        if found := _AT.search(str(address)):
            return f"revision {found[1]}"
    return f"revision unknown, fingerprint {table._fingerprint}"


def content_of(paths: Iterable[Path]) -> str:
    """One SHA-256 for several files, from their names and checksums."""
    lines = sorted(f"{path.name} {sha256_of(path)}" for path in paths)
    return f"sha256 {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


@cache
def note(source: str, state: str) -> None:
    """Log, once per process, what was read. A warning, so that both harnesses show it."""
    _log.warning("%s is not pinned; read at %s, quote it with your scores", source, state)

"""What judges have said, one JSON line each, so that scoring again asks nobody."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["VerdictCache"]


class VerdictCache:
    """An append-only file of replies, keyed by everything that a reply depends on.

    Threads share one object. Several processes may append to one file: a line is one write. A line
    cut off by a crash is skipped on reading, and ended before the next one is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Any]] | None = None

    @staticmethod
    def key(**parts: Any) -> str:
        """Hexadecimal SHA-256 of the named parts, whatever their order."""
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The entry under this key, or None."""
        with self._lock:
            return self._loaded().get(key)

    def put(self, key: str, entry: Mapping[str, Any]) -> None:
        """Keep an entry, in memory and at the end of the file."""
        line = json.dumps({"key": key, **entry}, ensure_ascii=True) + "\n"
        with self._lock:
            self._loaded()[key] = dict(entry)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                    line = "\n" + line
                file.write(line.encode())

    def _loaded(self) -> dict[str, dict[str, Any]]:
        if self._entries is None:
            self._entries = {}
            if self.path.is_file():
                text = self.path.read_text(encoding="utf-8", errors="replace")
                for line in text.splitlines():
                    try:
                        entry = json.loads(line)
                        self._entries[entry.pop("key")] = entry
                    except (ValueError, KeyError, TypeError, AttributeError):
                        continue
        return self._entries

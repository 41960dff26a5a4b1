"""One process at a time on a cell, also of several machines, without locks that outlive anybody."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: there, start one run at a time
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock"]


class Lock:
    """An advisory lock on a file, held by whoever has its descriptor open.

    The kernel releases it when the last holder ends, however that happens. Hand ``descriptor`` to
    the processes of a cell: while one of them lives, no other run takes the cell.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def take(cls, file: Path) -> Lock | None:
        """Return the lock of `file`, or None while somebody else holds it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return None
        return cls(descriptor)

    def release(self) -> None:
        """Let go of it; it is free once the processes that have it are gone, too."""
        os.close(self.descriptor)

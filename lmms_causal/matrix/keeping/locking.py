"""One process at a time on a cell, also of several machines, without locks that outlive anybody."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lmms_causal.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: there, start one run at a time
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock"]

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class Lock:
    """An advisory lock on a file, held by whoever has its descriptor open.

    The kernel releases it when the last holder ends, however that happens. Hand ``descriptor`` to
    a cell's process: while it lives, no other run takes the cell.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def take(cls, file: Path, *, shared: bool = False) -> Lock | None:
        """Return the lock of `file`, or None while somebody else holds it.

        Args:
            shared: let others share it; nobody can then have it alone.

        Raises:
            UserError: the file cannot be made, or its file system has no locks.
        """
        return cls._locked(file, shared, wait=False)

    @classmethod
    def wait(cls, file: Path, *, shared: bool = False) -> Lock:
        """Return the lock of `file` as soon as it is free; see `take`."""
        lock = cls._locked(file, shared, wait=True)
        assert lock is not None  # blocking, nobody's lock is in the way in the end
        return lock

    @classmethod
    def _locked(cls, file: Path, shared: bool, wait: bool) -> Lock | None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"{file}: cannot be written ({error.strerror})") from None
        if fcntl is None:
            return cls(descriptor)
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(descriptor, how)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _HELD and not wait:
                return None
            # Not "held": a run that took it so would leave every cell to nobody.
            raise UserError(
                f"{file}: this file system has no locks ({error.strerror}); choose a folder on one "
                "that has (Lustre: mounted with flock)"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let go of it; it is free once the processes that have it are gone, too."""
        with suppress(OSError):
            os.close(self.descriptor)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

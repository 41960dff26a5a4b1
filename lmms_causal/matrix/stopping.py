"""An end by Ctrl-C or by a scheduler's SIGTERM: in order, in one line, with the usual exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Stopped", "stoppable"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The process was asked to end.

    Like ``KeyboardInterrupt`` no ``Exception``, so that nobody takes it for a failure.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise :class:`Stopped` in the block when a signal asks this process to end.

    Signals that are ignored (``nohup``) or handled by somebody else stay so; outside the main
    thread there are none to handle.
    """
    before: dict[int, Any] = {}

    def stop(number: int, _frame: Any) -> None:
        raise Stopped(number)

    if threading.current_thread() is threading.main_thread():
        for asked in _SIGNALS:
            if signal.getsignal(asked) in (signal.SIG_DFL, signal.default_int_handler):
                before[asked] = signal.signal(asked, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

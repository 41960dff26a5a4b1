"""Whether we run under a harness's command line, and how a user's mistake ends it: in one line."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lmms_causal.errors import UserError

__all__ = ["Mistaken", "one_line_errors", "under_a_command_line"]

_SCRIPTS = {"lmms-eval", "lm-eval", "lm_eval", "lmms-causal"}
_PACKAGES = {"lmms_eval", "lm_eval", "lmms_causal"}

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Mistaken(SystemExit):
    """A user's mistake that ends the process with exit code 2.

    Python prints a message only with exit code 1, so under a harness's command it is printed here;
    the first one only, for threads that score documents may each find one. Ours may still go on,
    as a report does without a task, so its ``main`` prints the line.
    """

    told = False
    _one_at_a_time = threading.Lock()

    def __init__(self, line: str) -> None:
        super().__init__(2)
        self.line = line
        if Path(sys.argv[0]).stem != "lmms-causal":
            with self._one_at_a_time:
                self.tell()
                Mistaken.told = True

    def tell(self) -> None:
        """Print the line, unless this process has ended with one already."""
        if not Mistaken.told:
            print(self.line, file=sys.stderr, flush=True)

    def __str__(self) -> str:
        return self.line


def under_a_command_line() -> bool:
    """Whether this process was started as a command of either harness or ours.

    In a notebook or a test it was not, and exceptions stay exceptions.
    """
    program = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    return program.stem in _SCRIPTS or (
        program.name == "__main__.py" and program.parent.name in _PACKAGES
    )


def one_line_errors(function: _Function) -> _Function:
    """Let a :class:`UserError` end a command with its one line and exit code 2.

    lmms-eval's command line catches every exception, prints a traceback, and exits with 0. Before
    that it builds a dataset five times, two seconds apart, and hides the reason in a RetryError;
    some of its wrappers turn any exception into an empty answer. ``SystemExit`` is no
    ``Exception``: it passes all of these.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            if not under_a_command_line():
                raise
            raise Mistaken(f"error: {error}") from None

    return wrapped  # type: ignore[return-value]

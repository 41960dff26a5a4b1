"""User errors that survive lmms-eval.

lmms-eval 0.7.3 builds every dataset inside five retries, two seconds apart, ends in a RetryError
that hides the reason, prints a traceback and exits with code 0; some of its model wrappers turn
any exception into an empty answer. ``SystemExit`` is no ``Exception``: it passes all of these, is
printed as one line, and makes the exit code 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from lmms_causal.errors import UserError

__all__ = ["exit_on_user_error"]

T = TypeVar("T")


def exit_on_user_error(function: Callable[..., T]) -> Callable[..., T]:
    """Let a `UserError` of this task function end the run with its one line."""

    @wraps(function)
    def guarded(*args: object, **kwargs: object) -> T:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise SystemExit(f"error: {error}") from error

    return guarded

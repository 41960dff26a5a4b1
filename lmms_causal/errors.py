"""The one exception a user's mistake raises: one line that names the input and the remedy."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input of a user: a misspelt name, a missing file, an argument out of range.

    The message is one line that names the offending input and says what to do. Our command line
    prints it without a traceback and exits with code 2.
    """

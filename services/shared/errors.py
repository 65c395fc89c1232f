"""Errors that a user can mend: the command line prints them as one line and exits with 2."""

from __future__ import annotations

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxstring = 100


class UserError(Exception):
    """Bad input or a missing prerequisite; the message says what was found and what to do."""


def quoted(name: str) -> str:
    """A name that somebody else wrote, in quotes, and short enough for a message."""
    return _SHORT.repr(name)

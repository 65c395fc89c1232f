"""Errors that a user can mend: the command line prints them as one line and exits with 2."""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Iterator

_SHORT = reprlib.Repr()
_SHORT.maxstring = 100


class UserError(Exception):
    """Bad input or a missing prerequisite; the message says what was found and what to do."""


@contextlib.contextmanager
def user_errors(
    kinds: tuple[type[Exception], ...] = (ValueError,), *, prefix: str = ""
) -> Iterator[None]:
    """Turn errors of a block into one that the user can mend, with the same message.

    Args:
        kinds: Which.
        prefix: Begins the message, as what the error is of.

    Raises:
        UserError: one of them came.
    """
    try:
        yield
    except kinds as error:
        raise UserError(f"{prefix}{error}") from error


def quoted(name: str) -> str:
    """A name that somebody else wrote, in quotes, and short enough for a message."""
    return _SHORT.repr(name)


def printable(text: str) -> str:
    """Foreign text without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

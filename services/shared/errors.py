"""Errors that a user can fix: the command line prints them as one line and exits with 2."""

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
    """Convert errors of a block to `UserError`, with the same message.

    Args:
        kinds: The kinds to convert.
        prefix: Start of the message.

    Raises:
        UserError: one of them was raised.
    """
    try:
        yield
    except kinds as error:
        raise UserError(f"{prefix}{error}") from error


def quoted(name: str) -> str:
    """An untrusted name, quoted and shortened for a message."""
    return _SHORT.repr(name)


def printable(text: str) -> str:
    """Untrusted text without terminal control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

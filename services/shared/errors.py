"""Errors that a user can mend: the command line prints them as one line and exits with 2."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or a missing prerequisite; the message says what was found and what to do."""
